"""Writing to callers, each write with a bound: a caller that takes nothing holds nothing."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import grpc

from stt_service.engine.errors import EngineError, SlowConsumer
from stt_service.translation import STATUS_DETAILS_KEY, encode_status

WRITE_TIMEOUT_S = 30.0
# A caller that takes no status either has lost its slot already; only its own call waits.
STATUS_TIMEOUT_S = 2.0

Context = grpc.aio.ServicerContext[Any, Any]
Metadata = tuple[tuple[str, str], ...]


class Writer:
    """Writes the messages of all calls; each waits for its caller for a bounded time."""

    def __init__(self) -> None:
        self._limit_s = WRITE_TIMEOUT_S
        self._waiting: set[asyncio.Timeout] = set()

    async def write(self, context: Context, message: object) -> None:
        """Send a response. Raises SlowConsumer."""
        await self._within_limit(context.write(message))

    async def write_metadata(self, context: Context, metadata: Metadata) -> None:
        """Send the initial metadata. Raises SlowConsumer."""
        await self._within_limit(context.send_initial_metadata(metadata))

    def hurry(self, limit_s: float) -> None:
        """Shorten the limit from now on, also for the writes that are waiting."""
        self._limit_s = min(limit_s, self._limit_s)
        latest = asyncio.get_running_loop().time() + self._limit_s
        # One whose time has come in this very turn of the loop cannot be changed any more.
        for timeout in (each for each in self._waiting if not each.expired()):
            timeout.reschedule(min(latest, timeout.when() or latest))

    async def _within_limit(self, writing: Awaitable[None]) -> None:
        limit_s = self._limit_s
        try:
            async with asyncio.timeout(limit_s) as timeout:
                self._waiting.add(timeout)
                try:
                    await writing
                finally:
                    self._waiting.discard(timeout)
        except TimeoutError:
            raise SlowConsumer(min(limit_s, self._limit_s)) from None


async def abort(context: Context, error: EngineError) -> None:
    """End the call with the status of an error; returns only if the caller does not take it."""
    code, status = encode_status(error)
    details = ((STATUS_DETAILS_KEY, status.SerializeToString()),)
    try:
        async with asyncio.timeout(STATUS_TIMEOUT_S):
            await context.abort(code, str(error), details)
    except TimeoutError:
        # It waits behind messages that the caller does not take, and goes with the connection.
        return
