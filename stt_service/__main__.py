"""stt-serve: the gRPC server and the WebSocket gateway until SIGTERM."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stt_service import __version__
from stt_service.config import (
    DEFAULT_GRPC_ADDRESS,
    DEFAULT_HTTP_ADDRESS,
    EngineConfig,
    InvalidSetting,
    ServerConfig,
    TlsConfig,
    parse_address,
)

if TYPE_CHECKING:
    from stt_service.supervisor import ServeOptions

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

EPILOG = """\
environment: MODEL_NAME and BATCH_SIZE are the defaults of --model and --batch-size.
exit codes: 0 stopped by a signal after draining, 1 the model could not be loaded, the address is
taken, or the engine or the gateway died, 2 wrong usage.
"""


def make_parser(defaults: EngineConfig) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stt-serve",
        description="Serve a streaming speech-to-text model over gRPC and WebSocket.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--model",
        default=defaults.model,
        metavar="NAME",
        help="digits (embedded), kyutai/stt-1b-en_fr, kyutai/stt-2.6b-en, another Hugging Face "
        f"repository id, or a directory in the same layout (default: {defaults.model})",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        default=defaults.slots,
        metavar="N",
        help=f"sessions at once (default: {defaults.slots})",
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads of the model (default: all cores but one)",
    )
    parser.add_argument(
        "--grpc",
        default=DEFAULT_GRPC_ADDRESS,
        metavar="HOST:PORT",
        help="address of the gRPC server; port 0 picks a free one "
        f"(default: {DEFAULT_GRPC_ADDRESS})",
    )
    parser.add_argument(
        "--http",
        default=DEFAULT_HTTP_ADDRESS,
        metavar="HOST:PORT",
        help=f"address of the WebSocket gateway (default: {DEFAULT_HTTP_ADDRESS})",
    )
    parser.add_argument("--no-gateway", action="store_true", help="serve gRPC only")
    parser.add_argument(
        "--metrics", metavar="HOST:PORT", help="serve Prometheus metrics there (default: nowhere)"
    )
    parser.add_argument(
        "--drain-grace",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds that open sessions get to finish after SIGTERM (default: 30)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="certificate of the gRPC port")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of the gRPC port")
    parser.add_argument(
        "--tls-client-ca",
        type=Path,
        metavar="PEM",
        help="clients must show a certificate of this authority",
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def read_options(arguments: argparse.Namespace) -> "ServeOptions":
    """Validate the command line. Raises InvalidSetting."""
    from stt_service.supervisor import ServeOptions

    parse_address(arguments.http)
    engine = EngineConfig(
        arguments.model, arguments.batch_size, arguments.device, arguments.threads
    )
    server = ServerConfig(
        grpc_address=arguments.grpc,
        metrics_address=arguments.metrics,
        tls=read_tls(arguments),
        drain_grace_s=arguments.drain_grace,
    )
    return ServeOptions(
        engine=engine,
        server=server,
        http_address=None if arguments.no_gateway else arguments.http,
        log_format=arguments.log_format,
    )


def read_tls(arguments: argparse.Namespace) -> TlsConfig | None:
    if arguments.tls_cert is None and arguments.tls_key is None:
        if arguments.tls_client_ca is not None:
            raise InvalidSetting("--tls-client-ca needs --tls-cert and --tls-key")
        return None
    if arguments.tls_cert is None or arguments.tls_key is None:
        raise InvalidSetting("--tls-cert and --tls-key go together")
    if not arguments.no_gateway:
        raise InvalidSetting(
            "with TLS, run the gateway apart: add --no-gateway here and start "
            "stt-gateway --upstream https://HOST:PORT"
        )
    return TlsConfig(arguments.tls_cert, arguments.tls_key, arguments.tls_client_ca)


def main(argv: Sequence[str] | None = None) -> int:
    try:
        arguments = make_parser(EngineConfig.from_environment()).parse_args(argv)
        options = read_options(arguments)
    except InvalidSetting as error:
        print(f"stt-serve: {error}", file=sys.stderr)
        return EXIT_USAGE
    from stt_service.supervisor import ServeFailed, serve

    try:
        asyncio.run(serve(options))
    except ServeFailed as error:
        print(f"stt-serve: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
