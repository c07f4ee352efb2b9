"""stt-gateway: the WebSocket gateway in front of a gRPC service, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from pathlib import Path

from gateway.config import MIB, GatewayConfig, config_from_arguments
from stt_service.process.access import add_access_arguments
from stt_service.process.address import DEFAULT_HTTP_ADDRESS
from stt_service.process.arguments import (
    EXIT_USAGE,
    Parser,
    add_log_format,
    listening_address,
    number_up_to,
    seconds,
    whole_number,
)
from stt_service.process.program import leave, say
from stt_service.process.web import add_web_arguments

PROGRAM = "stt-gateway"
EXIT_OK = 0
EXIT_FAILED = 1
MAX_MESSAGE_MIB = 1024
MAX_CONNECTIONS = 100_000
MAX_BUFFERED_MIB = 1_000_000

DESCRIPTION = "Serve WebSockets in front of a speech-to-text gRPC service."
EPILOG = """\
--http: a number is that address; localhost is both loopback addresses; 0.0.0.0 and [::] are every
address of this machine, IPv4 and IPv6; another name is every address that it has here.
MODAL_KEY and MODAL_SECRET, where set, are sent to the upstream over TLS and never to a client. If
they are not set, each caller's own key is passed on to the upstream.
STT_KEY and STT_SECRET are a key that every caller must have, where --keys names no file.
Exit status: 0 after SIGTERM or SIGINT, 1 if the address cannot be listened on, 2 for wrong options.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the exit status."""
    options = build_parser().parse_args(arguments)
    # Imported here so that `--help` does not wait for gRPC.
    from stt_service.process.listening import CannotListen, listen, parse_listening_address
    from stt_service.process.logs import configure_logging

    configure_logging(options.log_format)
    host, port = parse_listening_address(options.http)
    try:
        config = config_from_arguments(options)
        config.access.check_address("--http", options.http)
    except ValueError as error:
        say(PROGRAM, str(error))
        return EXIT_USAGE
    try:
        listening = listen(host, port)
    except CannotListen as error:
        say(PROGRAM, f"--http: {error}")
        return EXIT_FAILED
    return asyncio.run(_serve(config, host, listening, with_parent=options.exit_with_parent))


async def _serve(
    config: GatewayConfig, host: str, listening: list[socket.socket], *, with_parent: bool
) -> int:
    from gateway.process import serve

    with contextlib.ExitStack() as stack:
        for each in listening:
            stack.enter_context(each)
        served = await serve(
            config.listening_at(host, listening), listening, with_parent=with_parent
        )
    # Signals are still handled here.
    leave(PROGRAM, EXIT_OK if served else EXIT_FAILED)


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(PROGRAM, DESCRIPTION, EPILOG)
    parser.add_argument(
        "--upstream",
        required=True,
        metavar="ADDRESS",
        help="the gRPC service: HOST:PORT, or https://HOST for TLS",
    )
    parser.add_argument(
        "--upstream-ca",
        type=Path,
        metavar="FILE",
        help="PEM file of certificates to trust for it, instead of the system's",
    )
    parser.add_argument(
        "--upstream-cert",
        type=Path,
        metavar="FILE",
        help="PEM file of the certificate to show to the upstream, if it wants one (mTLS)",
    )
    parser.add_argument(
        "--upstream-key", type=Path, metavar="FILE", help="PEM file of its private key"
    )
    parser.add_argument(
        "--http",
        type=listening_address,
        default=DEFAULT_HTTP_ADDRESS,
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one (default %(default)s)",
    )
    parser.add_argument(
        "--tls-cert", type=Path, metavar="FILE", help="serve https and wss with this certificate"
    )
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key")
    parser.add_argument(
        "--patience",
        type=seconds,
        default=GatewayConfig.patience_s,
        metavar="SECONDS",
        help="how long a client waits for a service that starts (default %(default)g)",
    )
    parser.add_argument(
        "--wait-for-slot",
        type=seconds,
        default=GatewayConfig.wait_for_slot_s,
        metavar="SECONDS",
        help="how long a client waits where every slot is taken (default %(default)g)",
    )
    parser.add_argument(
        "--max-message-mib",
        type=number_up_to(MAX_MESSAGE_MIB),
        default=GatewayConfig.max_message_bytes / MIB,
        metavar="N",
        help="largest WebSocket message in MiB (default %(default)g)",
    )
    parser.add_argument(
        "--grace",
        type=seconds,
        default=GatewayConfig.grace_s,
        metavar="SECONDS",
        help="how long open sessions may go on after SIGTERM (default %(default)g)",
    )
    _add_limits(parser)
    add_access_arguments(parser, "/v1/info and /metrics")
    add_web_arguments(parser)
    add_log_format(parser)
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="stop when standard input ends, as it does when the parent process is gone",
    )
    return parser


def _add_limits(parser: Parser) -> None:
    parser.add_argument(
        "--max-connections",
        type=whole_number(MAX_CONNECTIONS),
        default=GatewayConfig.max_connections,
        metavar="N",
        help="TCP connections at once, as far as descriptors allow (default %(default)s)",
    )
    parser.add_argument(
        "--max-waiting",
        type=whole_number(MAX_CONNECTIONS),
        default=GatewayConfig.max_waiting,
        metavar="N",
        help="sessions that may wait for the service at once (default %(default)s)",
    )
    parser.add_argument(
        "--max-buffered-mib",
        type=number_up_to(MAX_BUFFERED_MIB),
        default=GatewayConfig.max_buffered_bytes / MIB,
        metavar="N",
        help="audio held for all sessions together, in MiB (default %(default)g)",
    )
