"""stt-serve's own work: server and gateway as one process tree, until a signal or a death."""

import asyncio
import contextlib
import gc
import os
import signal
import time
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass
from typing import Literal, NoReturn

from stt_service.config import DIGITS_CHECKPOINT, REPOSITORY, EngineConfig, ServerConfig
from stt_service.engine.errors import EngineDied, EngineError
from stt_service.engine.model import BatchedModel
from stt_service.gateway_child import GatewayFailed, GatewayOptions, run_gateway
from stt_service.process.access import Access
from stt_service.process.listening import CannotListen, listen, parse_listening_address
from stt_service.process.logs import LogFormat, configure_logging, get_logger
from stt_service.process.program import announce, show
from stt_service.process.tasks import first_of
from stt_service.process.web import NOTHING_SAID, WebOptions
from stt_service.server import Server

log = get_logger(__name__)


@dataclass(frozen=True)
class ServeOptions:
    """`http_address` None means no gateway."""

    engine: EngineConfig
    server: ServerConfig
    http_address: str | None
    log_format: LogFormat
    web: WebOptions = NOTHING_SAID


class ServeFailed(Exception):
    """stt-serve cannot go on; the message says why."""


async def serve(
    options: ServeOptions, load_model: Callable[[], BatchedModel] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the draining.

    With a file of keys, SIGHUP has it read again. Raises ServeFailed.
    """
    configure_logging(options.log_format)
    signals = Signals()
    check_model(options.engine)
    check_addresses(options)
    server = Server(options.engine, options.server, load_model)
    try:
        try:
            await server.start()
        except OSError as error:
            raise ServeFailed(str(error)) from error
        async with _run_gateway(options, server) as http_address:
            await first_of(_warm_up(server, options, http_address), signals.first.wait())
            if signals.first.is_set():
                return
            await first_of(signals.first.wait(), _watch_engine(server))
            # The gateway outlives the server: its sessions get their last words through it.
            await first_of(_drain(server), signals.second.wait())
            await server.stop()
    finally:
        await server.stop()


def check_model(engine: EngineConfig) -> None:
    """Find a wrong name now, and not when torch is imported. Raises ServeFailed."""
    source = engine.source
    if os.path.isdir(source):
        if not os.path.isfile(os.path.join(source, "config.json")):
            problem = "the folder has no config.json; name the folder that holds the checkpoint"
        else:
            return
    elif os.path.exists(source):
        problem = "that is a file; name the folder that holds the checkpoint"
    elif source.startswith((".", "/", "~")):
        problem = "there is no such folder"
    elif not REPOSITORY.fullmatch(source):
        problem = (
            "that is neither digits, nor a folder, nor a repository at Hugging Face, which is "
            "written as OWNER/NAME"
        )
    else:
        return
    raise ServeFailed(f"cannot serve {engine.model}: {problem}")


def check_addresses(options: ServeOptions) -> None:
    """Find an address that cannot be listened on before the model is loaded. Raises ServeFailed.

    The gateway's too, which is bound in a process of its own.
    """
    wanted = {
        "--grpc": options.server.grpc_address,
        "--http": options.http_address,
        "--metrics": options.server.metrics_address,
    }
    listening: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        for option, address in wanted.items():
            if address is None:
                continue
            host, port = parse_listening_address(address)
            try:
                found = [stack.enter_context(each) for each in listen(host, port)]
            except CannotListen as error:
                if port in listening:
                    other = listening[port]
                    raise ServeFailed(f"{option}: {other} has the port {port} already") from error
                raise ServeFailed(f"{option}: {error}") from error
            listening[found[0].getsockname()[1]] = option


class Signals:
    """Events that the first and the second SIGTERM or SIGINT set."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._receive)

    def _receive(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


@contextlib.asynccontextmanager
async def _run_gateway(options: ServeOptions, server: Server) -> AsyncGenerator[str | None]:
    """The gateway's address while the block runs; None without a gateway. Raises ServeFailed."""
    access = options.server.access
    if options.http_address is None:
        with reloading(access, server.reload_keys):
            yield None
        return
    wanted = GatewayOptions(
        options.http_address,
        server.address,
        options.log_format,
        access,
        options.web,
    )
    async with contextlib.AsyncExitStack() as stack:
        try:
            gateway = await stack.enter_async_context(run_gateway(wanted))
        except GatewayFailed as error:
            raise ServeFailed(str(error)) from error
        stack.enter_context(reloading(access, server.reload_keys, gateway.reload_keys))
        yield gateway.address.result()


@contextlib.contextmanager
def reloading(access: Access, *reload: Callable[[], None]) -> Generator[None]:
    """Call each at SIGHUP while the block runs, if there is a file to read again."""
    if access.keys_path is None:
        # As ever, a terminal that hangs up ends the process.
        yield
        return

    def reload_all() -> None:
        for each in reload:
            each()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload_all)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        # Not its default, which would end the process amidst its last words.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


async def _warm_up(
    server: Server, options: ServeOptions, http_address: str | None
) -> Literal[True]:
    """Load the model, then say what is served and where."""
    engine = options.engine
    # For machines, every line on standard error is one of the log.
    tell = show if options.log_format == "text" else log.info
    tell(f"loading {engine.model} …")
    started = time.monotonic()
    try:
        await server.warm_up()
    except EngineError as error:
        # The engine wraps whatever loading raised; libraries write it over many lines.
        reason = " ".join(describe_failure(error).split())
        raise ServeFailed(f"cannot serve {engine.model}: {reason}") from error
    # torch's modules stay as they are. With them among the objects to look at, a full collection
    # holds up every stream for longer than a frame lasts: 95 ms.
    gc.collect()
    gc.freeze()
    tell(describe(engine, time.monotonic() - started))
    announce(compose_ready_line(server, options, http_address))
    return True


def compose_ready_line(server: Server, options: ServeOptions, http_address: str | None) -> str:
    """The line on standard output that says, also to programs, what is served where."""
    places = {"grpc": server.address}
    if http_address is not None:
        places["http"] = http_address
    if server.metrics_address is not None:
        places["metrics"] = server.metrics_address
    what = {"model": options.engine.model, "slots": options.engine.slots}
    return " ".join(["ready", *(f"{name}={value}" for name, value in (places | what).items())])


async def _drain(server: Server) -> Literal[True]:
    await server.drain()
    return True


async def _watch_engine(server: Server) -> NoReturn:
    raise ServeFailed(describe_failure(await server.wait_for_death()))


def describe_failure(error: EngineError) -> str:
    """Why the model is not served, with what its death's own message keeps from strangers."""
    return f"the model thread died: {error.reason}" if isinstance(error, EngineDied) else str(error)


def describe(engine: EngineConfig, loading_s: float) -> str:
    """One line: which model is served and what it understands."""
    line = f"serving {engine.model}, loaded in {loading_s:.1f} s"
    if engine.description:
        line += f": understands {engine.description}"
    if engine.source == str(DIGITS_CHECKPOINT):
        line += "; for English and French: stt-serve --model kyutai/stt-1b-en_fr"
    return line
