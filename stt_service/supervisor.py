"""stt-serve's own work: server and gateway as one process tree, until a signal or a death."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from stt.logs import LogFormat, configure_logging
from stt_service.config import DIGITS_CHECKPOINT, EngineConfig, ServerConfig
from stt_service.engine.errors import EngineError
from stt_service.engine.model import BatchedModel
from stt_service.server import Server

GATEWAY_READY = "ready http="
GATEWAY_START_TIMEOUT_S = 30.0
GATEWAY_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ServeOptions:
    """`http_address` None means no gateway."""

    engine: EngineConfig
    server: ServerConfig
    http_address: str | None
    log_format: LogFormat


class ServeFailed(Exception):
    """stt-serve cannot go on; the message says why."""


async def serve(
    options: ServeOptions, load_model: Callable[[], BatchedModel] | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the draining.

    Raises ServeFailed.
    """
    configure_logging(options.log_format)
    signals = Signals()
    server = Server(options.engine, options.server, load_model)
    try:
        await server.start()
    except OSError as error:
        raise ServeFailed(str(error)) from error
    try:
        async with run_gateway(options, server.port) as gateway:
            warming_up = _warm_up(server, options, gateway)
            if await race(warming_up, signals.first.wait()) == 1:
                return
            await race(signals.first.wait(), _watch_engine(server), _watch_gateway(gateway))
            # The gateway outlives the drain: its sessions get their last words through it.
            await race(server.drain(), signals.second.wait())
    finally:
        await server.stop()


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


async def race(*rivals: Coroutine[Any, Any, object]) -> int:
    """Run coroutines until the first ends, stop and await the others; which one it was.

    What a rival returns is dropped, so it must not need closing. Raises what the winner raised.
    """
    tasks = [asyncio.ensure_future(rival) for rival in rivals]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        # Ends only when all have ended, also where the caller is cancelled once more.
        await asyncio.gather(*tasks, return_exceptions=True)
    winner.result()
    return tasks.index(winner)


@dataclass
class Gateway:
    """The gateway's process, and the address it listens on."""

    process: asyncio.subprocess.Process
    address: str


@contextlib.asynccontextmanager
async def run_gateway(options: ServeOptions, grpc_port: int) -> AsyncGenerator[Gateway | None]:
    """Run the gateway as a child process while the block runs.

    Its own process: the gateway's work never waits for the interpreter lock of the
    model thread, and the two packages meet only on the wire.
    """
    if options.http_address is None:
        yield None
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        *("--upstream", f"{reachable(options.server.host)}:{grpc_port}"),
        *("--http", options.http_address),
        *("--log-format", options.log_format),
        # It ends when its standard input does, so a killed server leaves no orphan.
        "--exit-with-parent",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A Ctrl-C at the terminal is for the server, which drains before it ends the gateway.
        start_new_session=True,
    )
    try:
        yield Gateway(process, await _read_gateway_address(process))
    finally:
        await _end(process)


def reachable(host: str) -> str:
    """The address to connect to for a server that listens on `host`."""
    return "127.0.0.1" if host in ("0.0.0.0", "[::]") else host


async def _read_gateway_address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    try:
        async with asyncio.timeout(GATEWAY_START_TIMEOUT_S):
            async for line in process.stdout:
                text = line.decode().strip()
                if text.startswith(GATEWAY_READY):
                    return text.removeprefix(GATEWAY_READY)
    except TimeoutError as error:
        raise ServeFailed("the gateway did not start in time") from error
    raise ServeFailed(f"the gateway ended with exit code {await process.wait()}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask the process to end, then make it; at once where nobody can wait for it."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(GATEWAY_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise


async def _warm_up(server: Server, options: ServeOptions, gateway: Gateway | None) -> None:
    """Load the model, then say what is served and where."""
    engine = options.engine
    print(f"loading {engine.model} …", file=sys.stderr, flush=True)
    started = time.monotonic()
    try:
        await server.warm_up()
    except (EngineError, OSError, ValueError) as error:
        raise ServeFailed(f"cannot serve {engine.model}: {error}") from error
    print(describe(engine, time.monotonic() - started), file=sys.stderr, flush=True)
    print(announce(server, options, gateway), flush=True)


def announce(server: Server, options: ServeOptions, gateway: Gateway | None) -> str:
    """The line on standard output that says, also to programs, what is served where."""
    places = {"grpc": f"{options.server.host}:{server.port}"}
    if gateway is not None:
        places["http"] = gateway.address
    if server.metrics_port is not None:
        places["metrics"] = f"{options.server.metrics_host}:{server.metrics_port}"
    what = {"model": options.engine.model, "slots": options.engine.slots}
    return " ".join(["ready", *(f"{name}={value}" for name, value in (places | what).items())])


async def _watch_engine(server: Server) -> None:
    raise ServeFailed(str(await server.wait_for_death()))


async def _watch_gateway(gateway: Gateway | None) -> None:
    if gateway is None:
        await asyncio.Event().wait()
    else:
        raise ServeFailed(f"the gateway ended with exit code {await gateway.process.wait()}")


def describe(engine: EngineConfig, loading_s: float) -> str:
    """One line: which model is served and what it understands."""
    line = f"serving {engine.model}, loaded in {loading_s:.1f} s"
    if engine.description:
        line += f": understands {engine.description}"
    if engine.source == str(DIGITS_CHECKPOINT):
        line += "; for English and French: stt-serve --model kyutai/stt-1b-en_fr"
    return line
