"""One container of a GPU pool: the server in a process whose life somebody else rules."""

import asyncio
import os
from collections.abc import Callable

from stt_service.config import EngineConfig, ServerConfig
from stt_service.engine.engine import State
from stt_service.process.access import Access
from stt_service.process.logs import configure_logging, get_logger
from stt_service.server import Server

# `drain` runs in Modal's exit handler, which has 30 s until SIGKILL, also when Modal takes the
# machine back: this grace, then 10 s for last words (Engine.drain), then 2 s to send them.
DRAIN_GRACE_S = 12.0
EXIT_ENGINE_DIED = 1

log = get_logger(__name__)


class PoolMember:
    """Serves from one process: `load`, `listen`, and `drain` at the end, on one event loop.

    Nothing listens before the model is loaded and warm, so that a memory snapshot can be taken in
    between and nobody is sent here early. If the engine dies the process ends, with a status that
    has it replaced; `end_process` does that.
    """

    def __init__(self, server: Server, end_process: Callable[[int], object] = os._exit) -> None:
        self._server = server
        self._end_process = end_process
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    def serving(cls, engine: EngineConfig, address: str) -> "PoolMember":
        """A member that will listen on HOST:PORT; the process logs JSON lines from now on."""
        configure_logging("json")
        names = {"model": engine.model, "checkpoint": engine.checkpoint}
        log.info("loading", **names, slots=engine.slots)
        # The edge lets nobody in without a proxy auth token, and is the only way in.
        access = Access(insecure=True)
        config = ServerConfig(address, access=access, drain_grace_s=DRAIN_GRACE_S)
        return cls(Server(engine, config))

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before `listen`."""
        return self._server.port

    @property
    def is_warm(self) -> bool:
        """Whether the model is loaded and its steps cost what they will always cost."""
        return self._server.engine.state is State.SERVING

    async def load(self) -> None:
        """Load the model and warm it up. Raises what loading raised."""
        await self._server.warm_up()

    async def listen(self) -> None:
        """Serve from now on. Raises OSError if the address is taken."""
        await self._server.start()
        self._watching = asyncio.create_task(self._end_with_engine())
        log.info("listening", port=self.port)

    async def drain(self) -> None:
        """Refuse new sessions, let the open ones finish, or give them their last words."""
        if self._watching is not None:
            self._watching.cancel()
        await self._server.drain()

    async def _end_with_engine(self) -> None:
        await self._server.wait_for_death()
        self._end_process(EXIT_ENGINE_DIED)
