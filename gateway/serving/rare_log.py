"""A log for what strangers can cause at will: one line for many events of a kind."""

from __future__ import annotations

import time
from collections.abc import Callable

from structlog.stdlib import BoundLogger

PERIOD_S = 10.0


class RareLog:
    """Writes at most one line per event name in `PERIOD_S`, with the number of events since."""

    def __init__(self, log: BoundLogger, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._written_s: dict[str, float] = {}
        self._unwritten: dict[str, tuple[int, dict[str, object]]] = {}

    def warn(self, event: str, **fields: object) -> None:
        """Note an event. Event names are a fixed set; strangers' text goes into fields."""
        count, _ = self._unwritten.get(event, (0, {}))
        self._unwritten[event] = (count + 1, fields)
        self.flush()

    def flush(self, *, everything: bool = False) -> None:
        """Write what is due, or `everything`. Called now and then, so that every count is told."""
        now_s = self._clock()
        for event, (count, fields) in list(self._unwritten.items()):
            last_s = self._written_s.get(event)
            if everything or last_s is None or now_s - last_s >= PERIOD_S:
                self._written_s[event] = now_s
                del self._unwritten[event]
                self._log.warning(event, count=count, **fields)
