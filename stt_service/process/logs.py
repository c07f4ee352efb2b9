"""Structured logs, the same for the server and the gateway: one line per event, with its fields.

structlog writes our events and what uvicorn, grpc and asyncio log through the standard library in
one form. Never audio, never a transcript.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from structlog import wrap_logger
from structlog.processors import JSONRenderer, format_exc_info
from structlog.stdlib import BoundLogger, ProcessorFormatter, filter_by_level
from structlog.typing import EventDict, WrappedLogger

LogFormat = Literal["text", "json"]


def get_logger(name: str) -> BoundLogger:
    """A log whose events carry fields: `log.info("session ended", outcome="final", audio_s=4.2)`.

    `log.bind(session_id=…)` is the same log with more fields in every line.
    """
    processors = [filter_by_level, ProcessorFormatter.wrap_for_formatter]
    return wrap_logger(logging.getLogger(name), processors, BoundLogger)


def configure_logging(log_format: LogFormat) -> None:
    """Send all logs of this process to standard error in the given format."""
    as_json = JSONRenderer(default=str, ensure_ascii=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        ProcessorFormatter(
            processors=[
                _add_origin,
                ProcessorFormatter.remove_processors_meta,
                format_exc_info,
                as_json if log_format == "json" else _render_text,
            ]
        )
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _add_origin(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    """Put time, level, logger and event before the fields."""
    record: logging.LogRecord = event_dict["_record"]
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": event_dict.pop("event"),
        **event_dict,
    }


def _render_text(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> str:
    """`12:04:31 info session ended outcome=final`, then the traceback if there is one."""
    time: str = event_dict.pop("time")
    level: str = event_dict.pop("level")
    event = _escape(event_dict.pop("event"))
    exception: str | None = event_dict.pop("exception", None)
    event_dict.pop("logger")
    pairs = (f"{name}={_quote(value)}" for name, value in event_dict.items())
    line = " ".join([datetime.fromisoformat(time).strftime("%H:%M:%S"), level, event, *pairs])
    return line if exception is None else f"{line}\n{exception}"


def _quote(value: object) -> str:
    text = str(value)
    quoted = not text or not text.isprintable() or any(character in text for character in ' "=')
    return _to_json(text) if quoted else text


def _escape(event: object) -> str:
    """The event on one line; what a library logs may quote a stranger."""
    text = str(event)
    return text if text.isprintable() else _to_json(text)[1:-1]


def _to_json(text: str) -> str:
    """A JSON string without anything that ends a line or that a terminal obeys."""
    return json.dumps(text, ensure_ascii=not text.isprintable()).replace("\x7f", "\\u007f")


class OccasionalLog:
    """Writes at most one line for each event in `interval_s`, with how many there were since.

    For what strangers can cause as often as they like.
    """

    def __init__(
        self,
        log: BoundLogger,
        interval_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._interval_s = interval_s
        self._clock = clock
        self._written_at: dict[str, float] = {}
        self._unwritten: dict[str, tuple[int, dict[str, object]]] = {}

    def warning(self, event: str, **fields: object) -> None:
        """Note an event. Events are told apart by their text, and a stranger's goes into fields."""
        count, _ = self._unwritten.get(event, (0, {}))
        self._unwritten[event] = (count + 1, fields)
        self.flush()

    def flush(self, *, everything: bool = False) -> None:
        """Write what is due, or `everything`; called now and then, every count is told."""
        now = self._clock()
        for event, (count, fields) in list(self._unwritten.items()):
            written_at = self._written_at.get(event, -math.inf)
            if everything or now - written_at >= self._interval_s:
                self._written_at[event] = now
                del self._unwritten[event]
                self._log.warning(event, count=count, **fields)
