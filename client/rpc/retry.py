"""When to try again: patience by the kind of error, full jitter, and the server's advice."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from client.rpc.errors import ServerFull, ServerUnavailable, ServerUnreachable, SttError

FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 3.0
MAX_ADVICE_S = 3.0
"""A service that starts is reached soon, whatever it advises."""

_MAX_DOUBLINGS = 16


@dataclass(frozen=True)
class Patience:
    """How long to keep trying, in seconds, by kind of failure."""

    starting_s: float = 120.0
    """The service says that it is starting (503, NOT_SERVING, no answer to a connection)."""
    full_s: float = 40.0
    """Every slot is taken, or an HTTP edge says that every container is (429)."""
    unreachable_s: float = 10.0
    """Nothing answers: wrong address, or a local server that is not up yet."""

    def limit_s(self, error: SttError) -> float:
        """How long to keep trying after this error; 0 if trying again does not help."""
        match error:
            case ServerUnreachable():
                return self.unreachable_s
            case ServerUnavailable():
                return self.starting_s
            case ServerFull():
                return self.full_s
            case _:
                return 0.0


@dataclass(frozen=True)
class Waiting:
    """Another attempt follows, or the present one takes long: why, and after how long."""

    reason: SttError
    waited_s: float
    next_try_s: float = 0.0
    """How soon the next attempt follows; 0 while the present one goes on."""


OnWait = Callable[[Waiting], None] | Callable[[Waiting], Awaitable[None]]


class Retry:
    """The pauses between attempts that fail in a row.

    `limit_s` says how long to keep trying after an error, counted from the first attempt; `on_wait`
    (plain or async) is called before each pause. `clock`, `sleep` and `uniform` are for tests.
    """

    def __init__(
        self,
        limit_s: Callable[[SttError], float],
        on_wait: OnWait | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._limit_s = limit_s
        self._on_wait = on_wait
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform
        self._since = clock()
        self.failures = 0
        """How many attempts have failed in a row."""

    def reset(self) -> None:
        """Count from zero again, after progress."""
        self._since = self._clock()
        self.failures = 0

    async def pause(self, error: SttError) -> None:
        """Wait until the next attempt is due, after one that failed.

        Raises `error` when patience runs out. A pause lasts no longer than patience does, and
        otherwise no shorter than the server advises.
        """
        self.failures += 1
        waited_s = self._clock() - self._since
        left_s = self._limit_s(error) - waited_s
        if left_s <= 0.0:
            raise error
        pause_s = min(left_s, self._next_pause_s(error))
        if self._on_wait is not None:
            told = self._on_wait(Waiting(error, waited_s, pause_s))
            if told is not None:
                await told
        await self._sleep(pause_s)

    def _next_pause_s(self, error: SttError) -> float:
        """Full jitter over a doubling pause, so that many clients do not come back at once; it
        comes on top of the server's advice, which is the same for all of them."""
        doublings = min(self.failures - 1, _MAX_DOUBLINGS)
        jitter_s = self._uniform(0.0, min(MAX_PAUSE_S, FIRST_PAUSE_S * 2**doublings))
        advice_s: float = getattr(error, "retry_after_s", None) or 0.0
        return jitter_s + min(max(advice_s, 0.0), MAX_ADVICE_S)
