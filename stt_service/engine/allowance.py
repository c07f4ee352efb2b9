"""What the sessions of one caller may take together, whichever method opens them."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from stt_service.engine.errors import TooManySessions
from stt_service.engine.options import SessionOptions
from stt_service.process.keys import KeyLimits

MINUTE_S = 60.0
UNLIMITED = KeyLimits()


class Allowance:
    """Counts one caller's sessions and their audio against its limits.

    `limits` may be replaced at any time. Belongs to one event loop. `clock` counts seconds.
    """

    def __init__(
        self,
        name: str = "",
        limits: KeyLimits = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        """The caller's, for logs; empty for callers who need none."""
        self.limits = limits
        self._clock = clock
        self._sessions = 0
        # The bucket: how much more audio may be read now, in seconds. A piece of audio is taken
        # whole, so that it may be below 0 for a while.
        self._level_s = float(limits.audio_seconds_per_minute or 0)
        self._filled_at = clock()

    def enter(self) -> None:
        """Count a session that opens. Raises TooManySessions."""
        most = self.limits.sessions
        if most is not None and self._sessions >= most:
            raise TooManySessions(most)
        self._sessions += 1

    def leave(self) -> None:
        """Count a session that has ended."""
        self._sessions -= 1

    def limit(self, options: SessionOptions) -> SessionOptions:
        """The options, with an idle timeout no longer than may be."""
        longest_s = self.limits.idle_timeout_seconds
        if longest_s is None or options.idle_timeout_s <= longest_s:
            return options
        return replace(options, idle_timeout_s=float(longest_s))

    @property
    def wait_s(self) -> float:
        """How long to wait before more audio is read; 0 if it may be read now."""
        per_minute_s = self.limits.audio_seconds_per_minute
        if per_minute_s is None:
            return 0.0
        self._fill(per_minute_s)
        return max(0.0, -self._level_s * MINUTE_S / per_minute_s)

    def take(self, audio_s: float) -> None:
        """Count audio that is read."""
        if self.limits.audio_seconds_per_minute is not None:
            self._level_s -= audio_s

    def _fill(self, per_minute_s: int) -> None:
        now = self._clock()
        gained_s = (now - self._filled_at) * per_minute_s / MINUTE_S
        self._level_s = min(float(per_minute_s), self._level_s + gained_s)
        self._filled_at = now


_current: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


def current_allowance() -> Allowance:
    """The allowance of the call that runs; one without limits where nobody has set any."""
    return _current.get() or Allowance()


@contextmanager
def allowing(allowance: Allowance) -> Generator[None]:
    """Open the sessions of the block on this allowance."""
    token = _current.set(allowance)
    try:
        yield
    finally:
        _current.reset(token)
