"""The event loop's time, less the time in which the loop stood still."""

import asyncio
from collections.abc import Callable

TICK_S = 0.25


class AwakeClock:
    """Seconds in which the loop turned, and so could have read what there was to read.

    A process that was stopped, a machine that slept, a loop that was kept from turning: the clock
    moves on by one tick at most, however long that took. What arrives meanwhile waits in a socket,
    and nobody has been silent or hung because nobody looked.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._tick_due_s = 0.0
        self._lost_s = 0.0

    def start(self, on_tick: Callable[[], None] | None = None) -> None:
        """Run on the running loop, and call `on_tick` four times a second."""
        self._loop = asyncio.get_running_loop()
        self._on_tick = on_tick
        self._set_timer()

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()

    def __call__(self) -> float:
        """The time in seconds; it never goes back."""
        return min(self._loop.time(), self._tick_due_s) - self._lost_s

    def _set_timer(self) -> None:
        self._tick_due_s = self._loop.time() + TICK_S
        self._timer = self._loop.call_at(self._tick_due_s, self._tick)

    def _tick(self) -> None:
        self._lost_s += max(0.0, self._loop.time() - self._tick_due_s)
        self._set_timer()
        if self._on_tick is not None:
            self._on_tick()
