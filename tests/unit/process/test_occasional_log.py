from typing import Any

from structlog import wrap_logger
from structlog.testing import LogCapture

from stt_service.process.logs import OccasionalLog

PERIOD_S = 10.0


class Written:
    """What a log has written, with a clock that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._capture = LogCapture()
        log: Any = wrap_logger(None, processors=[self._capture])
        self.log = OccasionalLog(log, PERIOD_S, lambda: self.now_s)

    @property
    def lines(self) -> list[tuple[str, int]]:
        return [(entry["event"], entry["count"]) for entry in self._capture.entries]


def test_many_events_are_one_line_and_none_is_uncounted():
    written = Written()
    for _ in range(1000):
        written.log.warning("bad request", error="x")
    assert written.lines == [("bad request", 1)]
    written.now_s = PERIOD_S
    written.log.flush()
    assert written.lines == [("bad request", 1), ("bad request", 999)]


def test_kinds_do_not_hide_each_other():
    written = Written()
    written.log.warning("one")
    written.log.warning("other")
    assert written.lines == [("one", 1), ("other", 1)]


def test_the_end_writes_what_is_left():
    written = Written()
    written.log.warning("one")
    written.log.warning("one")
    written.log.flush()
    assert written.lines == [("one", 1)]
    written.log.flush(everything=True)
    assert written.lines == [("one", 1), ("one", 1)]
