"""`stt-gateway`: the WebSocket in front of a gRPC service, alone in its process."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

DESCRIPTION = "Serve the WebSocket /v1/stream in front of a speech-to-text gRPC service."
EPILOG = """\
MODAL_KEY and MODAL_SECRET, where set, are sent to the upstream over TLS and never to a client.
Exit status: 0 after SIGTERM or SIGINT, 1 if the address cannot be listened on, 2 for wrong options.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until SIGTERM; the exit status is the process's."""
    sys.exit(run(build_parser().parse_args(arguments)))


def run(options: argparse.Namespace) -> int:
    """Serve as the options say; the process's exit status."""
    # Imported here: `--help` need not wait for gRPC.
    from gateway.config import HttpAddress, config_from_arguments
    from gateway.process import listen, serve
    from stt.logs import configure_logging

    configure_logging(options.log_format)
    try:
        address = HttpAddress.parse(options.http)
        config = config_from_arguments(options)
    except ValueError as error:
        print(f"stt-gateway: {error}", file=sys.stderr)
        return 2
    try:
        listening = listen(address)
    except OSError as error:
        print(f"stt-gateway: cannot listen on {options.http}: {error.strerror}", file=sys.stderr)
        return 1
    with listening:
        asyncio.run(serve(config, listening, with_parent=options.exit_with_parent))
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="stt-gateway",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--upstream",
        required=True,
        metavar="ADDRESS",
        help="the gRPC service: HOST:PORT, or https://HOST for TLS",
    )
    parser.add_argument(
        "--upstream-ca",
        metavar="FILE",
        help="PEM file of certificates to trust for it, instead of the system's",
    )
    parser.add_argument(
        "--http",
        default="127.0.0.1:8000",
        metavar="HOST:PORT",
        help="where to listen; port 0 takes a free one (default %(default)s)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="how long a client waits for a service that starts (default %(default)g)",
    )
    parser.add_argument(
        "--max-message-mib",
        type=float,
        default=64.0,
        metavar="N",
        help="largest WebSocket message in MiB (default %(default)g)",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let pages of this other origin connect, like https://example.com; repeatable",
    )
    parser.add_argument(
        "--grace",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long open sessions may go on after SIGTERM (default %(default)g)",
    )
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="log lines for people or for machines (default %(default)s)",
    )
    parser.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="stop when standard input ends, as it does when the parent process is gone",
    )
    return parser


if __name__ == "__main__":
    main()
