"""The WebSocket gateway as a child process of stt-serve, started again whenever it ends."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass

from stt_service.process.access import Access
from stt_service.process.address import join_host_port, split_host_port
from stt_service.process.child import ChildEnded, run_child, wait_for_line
from stt_service.process.environment import KEY_VARIABLE, SECRET_VARIABLE
from stt_service.process.logs import LogFormat, get_logger
from stt_service.process.web import WebOptions

READY = "ready http="
START_TIMEOUT_S = 30.0
# Between its end and its next start; longer from one time to the next while it does not stay up.
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STAYED_UP_S = 60.0

log = get_logger(__name__)


class GatewayFailed(Exception):
    """The gateway did not start; the message says why."""


@dataclass(frozen=True)
class GatewayOptions:
    """Where it listens, HOST:PORT, the address of the gRPC server, and whom they let in."""

    http_address: str
    upstream: str
    log_format: LogFormat
    access: Access
    web: WebOptions


class Gateway:
    """Runs the gateway's process, one after the other.

    Its own process: the gateway's work never waits for the interpreter lock of the
    model thread, and the two packages meet only on the wire. The sessions over gRPC
    do not end with it.
    """

    def __init__(self, options: GatewayOptions) -> None:
        self._options = options
        self._bind_address = options.http_address
        self._pause_s = FIRST_PAUSE_S
        self._process: Process | None = None
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """HOST:PORT to connect to, from the first start on."""

    async def run(self) -> None:
        """Keep it running. Raises GatewayFailed if its first start fails."""
        loop = asyncio.get_running_loop()
        while True:
            started_at = loop.time()
            try:
                exit_code = await self._run_once()
            except GatewayFailed as error:
                if not self.address.done():
                    raise
                reason = str(error)
            else:
                reason = f"it ended with exit code {exit_code}"
            if loop.time() - started_at > STAYED_UP_S:
                self._pause_s = FIRST_PAUSE_S
            log.error("gateway is started again", reason=reason, pause_s=self._pause_s)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _run_once(self) -> int:
        """Run it to its end; the exit code. Raises GatewayFailed if it does not get ready."""
        async with run_child(
            self._compose_command(),
            stdin=asyncio.subprocess.PIPE,
            env=make_environment(os.environ),
            # A Ctrl-C at the terminal is for the server, which drains before it ends the gateway.
            start_new_session=True,
        ) as process:
            self._note_address(await _wait_until_ready(process))
            self._process = process
            try:
                return await process.wait()
            finally:
                self._process = None

    def reload_keys(self) -> None:
        """Have it read the file of keys again. One that starts just now reads it anyway."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    def _compose_command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "gateway"),
            *("--upstream", self._options.upstream),
            *("--http", self._bind_address),
            *("--log-format", self._options.log_format),
            # It ends when its standard input does, so a killed server leaves no orphan.
            "--exit-with-parent",
            *self._options.access.to_arguments(),
            *self._options.web.to_arguments(),
        ]

    def _note_address(self, address: str) -> None:
        if self.address.done():
            return
        host, _ = split_host_port(self._options.http_address)
        _, port = split_host_port(address)
        # A port that it chose is its port from now on.
        self._bind_address = join_host_port(host, port or 0)
        self.address.set_result(address)


@contextlib.asynccontextmanager
async def run_gateway(options: GatewayOptions) -> AsyncGenerator[Gateway]:
    """Keep a gateway, which has its address, running while the block runs.

    Raises GatewayFailed if it does not start.
    """
    gateway = Gateway(options)
    running = asyncio.create_task(gateway.run())
    try:
        await asyncio.wait({running, gateway.address}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield gateway
    finally:
        running.cancel()
        # Where the caller is cancelled meanwhile, the child is killed.
        await asyncio.gather(running, return_exceptions=True)


def make_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would send a call to this very machine through a proxy, and
    without the token of a service elsewhere."""
    return {
        name: value
        for name, value in environment.items()
        if not name.lower().endswith("_proxy") and name not in (KEY_VARIABLE, SECRET_VARIABLE)
    }


async def _wait_until_ready(process: Process) -> str:
    """The address that it listens on. Raises GatewayFailed."""
    try:
        return await wait_for_line(process, parse_ready_line, START_TIMEOUT_S)
    except TimeoutError as error:
        raise GatewayFailed("the gateway did not start in time") from error
    except ChildEnded as error:
        raise GatewayFailed(
            f"the gateway did not start ({error}); its own line above says why"
        ) from error


def parse_ready_line(line: str) -> str | None:
    """The address in the gateway's ready line; None for any other line."""
    return line.removeprefix(READY) if line.startswith(READY) else None
