"""Structured logs: one line per event, with its fields; never audio, never a transcript."""

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.config import LogFormat

_FIELDS = "fields"


def log_event(
    logger: logging.Logger, level: int, event: str, fields: Mapping[str, object], **keywords: Any
) -> None:
    """Write one event with its fields; `keywords` are those of `Logger.log`."""
    logger.log(level, event, extra={_FIELDS: dict(fields)}, **keywords)


class SessionLog:
    """Writes the events of one session; every line carries its ids.

    `connection` names it from the handshake on, `session_id` from the service's `ready` on: the
    latter is what the service's own logs and metadata call it.
    """

    def __init__(self, logger: logging.Logger, connection: str) -> None:
        self._logger = logger
        self._ids = {"connection": connection}

    def name_session(self, session_id: str) -> None:
        """Add the service's session id to every later line."""
        self._ids["session_id"] = session_id

    def info(self, event: str, **fields: object) -> None:
        """Write what is expected to happen."""
        log_event(self._logger, logging.INFO, event, {**self._ids, **fields})

    def warning(self, event: str, **fields: object) -> None:
        """Write what an operator may want to look into."""
        log_event(self._logger, logging.WARNING, event, {**self._ids, **fields})

    def exception(self, event: str, **fields: object) -> None:
        """Write a fault of our own, with the exception that is being handled."""
        log_event(self._logger, logging.ERROR, event, {**self._ids, **fields}, exc_info=True)


def configure_logging(log_format: LogFormat) -> None:
    """Send all logs to standard error in the given format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    # Its start, stop and one line per request say nothing that our own events do not.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _utc(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """The same for a person: time, level, event, then `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = getattr(record, _FIELDS, {})
        pairs = (f"{name}={_plain(value)}" for name, value in fields.items())
        time = _utc(record).strftime("%H:%M:%S")
        line = " ".join([time, record.levelname.lower(), record.getMessage(), *pairs])
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def _utc(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _plain(value: object) -> str:
    text = str(value)
    return (
        json.dumps(text, ensure_ascii=False)
        if not text or any(c in text for c in ' "\n\r=')
        else text
    )
