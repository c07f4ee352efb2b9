"""Detects that a session's audio has stalled, and that it has been absent for too long."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

# A word that a stall cut is told so much later, if no more of it comes.
SETTLE_S = 1.0
# Where the clock stands still, what is left of a timeout stays what it is.
MIN_TIMER_S = 0.01


class SilenceWatch:
    """Calls `on_stall` once when no audio came for `stall_timeout_s`, and again only after audio
    has come in between; calls `on_settle` if there is none `SETTLE_S` later either, and `on_idle`
    once after `idle_timeout_s`.

    Audio that comes in bursts is not stalled between them: the time that a burst lasts is added to
    the stall timeout.

    Before the first audio there is nothing to stall. Belongs to the running event loop. `clock`
    counts the time in which audio could have been read (AwakeClock). One timer, set anew when it
    fires: noting audio, which happens for every message, costs no timer.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        stall_timeout_s: float,
        idle_timeout_s: float,
        on_stall: Callable[[], None],
        on_settle: Callable[[], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._idle_timeout_s = idle_timeout_s
        # What is next to be called in the present silence, and after how much of it.
        self._stages = ((on_stall, stall_timeout_s), (on_settle, stall_timeout_s + SETTLE_S))
        self._on_idle = on_idle
        self._loop = asyncio.get_running_loop()
        self._audio_at = self._clock()
        self._burst_s = 0.0
        self._stage = len(self._stages)
        self._held_back = 0
        self._stopped = False
        self._timer = self._loop.call_later(idle_timeout_s, self._look)

    def note_audio(self, burst_s: float = 0.0) -> None:
        """Record that audio has just arrived, and the next may be due in `burst_s` only."""
        self._audio_at = self._clock()
        self._burst_s = burst_s
        if self._stage and not self._stopped:
            self._stage = 0
            self._timer.cancel()
            self._set_timer()

    @contextmanager
    def held_back(self) -> Generator[None]:
        """While the block runs, input waits for room, which does not count as silence."""
        self._held_back += 1
        try:
            yield
        finally:
            self._held_back -= 1
            self._audio_at = self._clock()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped = True
        self._timer.cancel()

    def _look(self) -> None:
        if self._held_back:
            self._audio_at = self._clock()
        silent_for_s = self._clock() - self._audio_at
        if silent_for_s >= self._idle_timeout_s:
            self._on_idle()
            return
        while self._stage < len(self._stages):
            on_stage, timeout_s = self._stages[self._stage]
            if silent_for_s < timeout_s + self._burst_s:
                break
            self._stage += 1
            on_stage()
        self._set_timer()

    def _set_timer(self) -> None:
        timeout_s = self._idle_timeout_s
        if self._stage < len(self._stages):
            timeout_s = min(timeout_s, self._stages[self._stage][1] + self._burst_s)
        left_s = self._audio_at + timeout_s - self._clock()
        self._timer = self._loop.call_later(max(left_s, MIN_TIMER_S), self._look)
