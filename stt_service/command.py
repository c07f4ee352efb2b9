"""stt-serve: the gRPC server and the WebSocket gateway until SIGTERM."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stt_service.config import (
    MAX_SLOTS,
    MAX_THREADS,
    MAX_TIMEOUT_S,
    WEIGHTS,
    EngineConfig,
    EngineLimits,
    ServerConfig,
    TlsConfig,
)
from stt_service.process.access import Access, add_access_arguments
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
from stt_service.process.environment import InvalidSetting
from stt_service.process.program import leave, say
from stt_service.process.web import WebOptions, add_web_arguments

if TYPE_CHECKING:
    from stt_service.supervisor import ServeOptions

PROGRAM = "stt-serve"
EXIT_OK = 0
EXIT_FAILED = 1

EPILOG = """\
addresses: a number is that address; localhost is both loopback addresses; 0.0.0.0 and [::] are
every address of this machine, IPv4 and IPv6; another name is every address that it has here.
environment: MODEL_NAME and BATCH_SIZE are the defaults of --model and --batch-size; STT_KEY and
STT_SECRET are a key that every caller must have, where --keys names no file.
exit codes: 0 stopped by a signal, after draining if it served, 1 the model could not be loaded, an
address cannot be listened on, or the engine died, 2 wrong usage.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve as the command line says; the exit code."""
    arguments = make_parser().parse_args(argv)
    try:
        options = read_options(arguments)
    except (InvalidSetting, ValueError) as error:
        say(PROGRAM, str(error))
        return EXIT_USAGE
    from stt_service.process.loop import run

    return run(_serve(options))


async def _serve(options: "ServeOptions") -> int:
    from stt_service.supervisor import ServeFailed, serve

    exit_code = EXIT_OK
    try:
        await serve(options)
    except ServeFailed as error:
        say(PROGRAM, str(error))
        exit_code = EXIT_FAILED
    # Here, where signals are still heard: a thread that loads a model does not outlive the loop.
    leave(PROGRAM, exit_code)


def make_parser() -> Parser:
    """The command line. What the environment may say too has no default here."""
    parser = Parser(
        PROGRAM, "Serve a streaming speech-to-text model over gRPC and WebSocket.", EPILOG
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="digits (embedded), kyutai/stt-1b-en_fr, kyutai/stt-2.6b-en, another Hugging Face "
        "repository id, or a directory in the same layout "
        f"(default: MODEL_NAME, or {EngineConfig.model})",
    )
    parser.add_argument(
        "--batch-size",
        type=whole_number(MAX_SLOTS),
        metavar="N",
        help=f"sessions at once (default: BATCH_SIZE, or {EngineConfig.slots})",
    )
    parser.add_argument(
        "--device",
        type=_device,
        default=EngineConfig.device,
        help="auto, cpu, cuda or cuda:N (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=whole_number(MAX_THREADS),
        metavar="N",
        help="CPU threads of the model (default: all cores but one)",
    )
    parser.add_argument(
        "--weights",
        choices=WEIGHTS,
        default=EngineConfig.weights,
        help="of a large model on a CPU: bfloat16 halves the time of a step, int8 quarters it "
        "(default: %(default)s, which is float32)",
    )
    _add_limits(parser)
    _add_network_arguments(parser)
    add_access_arguments(parser, "reflection, GetServerInfo, /v1/info and metrics")
    add_web_arguments(parser)
    add_log_format(parser)
    return parser


def _add_limits(parser: Parser) -> None:
    parser.add_argument(
        "--loading-timeout",
        type=number_up_to(MAX_TIMEOUT_S),
        default=EngineLimits.loading_timeout_s,
        metavar="S",
        help="seconds that the model may load, downloads included (default: %(default)g)",
    )
    parser.add_argument(
        "--step-timeout",
        type=number_up_to(MAX_TIMEOUT_S),
        default=EngineLimits.step_timeout_s,
        metavar="S",
        help="seconds after which a step that has not ended counts as hung: the server tells "
        "everybody and exits (default: %(default)g)",
    )
    parser.add_argument(
        "--max-behind",
        type=number_up_to(MAX_TIMEOUT_S),
        default=EngineLimits.max_behind_s,
        metavar="S",
        help="admit nobody while the model is further behind real time (default: %(default)g)",
    )


def _add_network_arguments(parser: Parser) -> None:
    parser.add_argument(
        "--grpc",
        type=listening_address,
        default=ServerConfig.grpc_address,
        metavar="HOST:PORT",
        help="address of the gRPC server; port 0 picks a free one (default: %(default)s)",
    )
    parser.add_argument(
        "--http",
        type=listening_address,
        default=DEFAULT_HTTP_ADDRESS,
        metavar="HOST:PORT",
        help="address of the WebSocket gateway (default: %(default)s)",
    )
    parser.add_argument("--no-gateway", action="store_true", help="serve gRPC only")
    parser.add_argument(
        "--metrics",
        type=listening_address,
        metavar="HOST:PORT",
        help="serve Prometheus metrics there (default: nowhere)",
    )
    parser.add_argument(
        "--drain-grace",
        type=seconds,
        default=ServerConfig.drain_grace_s,
        metavar="S",
        help="seconds that open sessions get to finish after SIGTERM (default: %(default)g)",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="certificate of the gRPC port")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="private key of the gRPC port")
    parser.add_argument(
        "--tls-client-ca",
        type=Path,
        metavar="PEM",
        help="clients must show a certificate of this authority",
    )


def read_options(arguments: argparse.Namespace) -> "ServeOptions":
    """Validate the command line and the environment. Raises ValueError, like InvalidSetting."""
    from stt_service.supervisor import ServeOptions

    access = Access.from_arguments(arguments, os.environ)
    if not arguments.no_gateway:
        access.check_address("--http", arguments.http)
    engine = _read_engine(arguments)
    server = ServerConfig(
        grpc_address=arguments.grpc,
        metrics_address=arguments.metrics,
        tls=read_tls(arguments),
        access=access,
        drain_grace_s=arguments.drain_grace,
    )
    return ServeOptions(
        engine=engine,
        server=server,
        http_address=None if arguments.no_gateway else arguments.http,
        log_format=arguments.log_format,
        web=WebOptions.from_arguments(arguments),
    )


def _read_engine(arguments: argparse.Namespace) -> EngineConfig:
    # What the command line says wins, also over a variable that makes no sense.
    said = {"MODEL_NAME": arguments.model, "BATCH_SIZE": arguments.batch_size}
    environment = {name: os.environ.get(name, "") for name, value in said.items() if value is None}
    default = EngineConfig.from_environment(environment)
    engine = EngineConfig(
        model=default.model if arguments.model is None else arguments.model,
        slots=arguments.batch_size or default.slots,
        device=arguments.device,
        threads=arguments.threads,
        weights=arguments.weights,
        limits=EngineLimits(
            loading_timeout_s=arguments.loading_timeout,
            step_timeout_s=arguments.step_timeout,
            max_behind_s=arguments.max_behind,
        ),
    )
    if engine.device.startswith("cuda"):
        _check_cuda(engine.device)
    return engine


def _check_cuda(device: str) -> None:
    """Ask torch, whose import takes seconds, only where the answer decides."""
    from stt_service.engine.errors import EngineError
    from stt_service.engine.step.device import choose_device

    try:
        choose_device(device)
    except EngineError as error:
        raise InvalidSetting(f"--device: {error}") from error


def read_tls(arguments: argparse.Namespace) -> TlsConfig | None:
    """The TLS files, if they are named and work. Raises InvalidSetting."""
    from stt_service.tls import check_files

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
    tls = TlsConfig(arguments.tls_cert, arguments.tls_key, arguments.tls_client_ca)
    check_files(tls)
    return tls


def _device(text: str) -> str:
    try:
        return EngineConfig(device=text).device
    except InvalidSetting as error:
        raise argparse.ArgumentTypeError(str(error)) from error
