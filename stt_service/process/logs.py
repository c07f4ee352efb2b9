"""Structured logs, the same for the server and the gateway: one line per event, with its fields.

Never audio, never a transcript.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

LogFormat = Literal["text", "json"]

_FIELDS = "fields"


class EventLog(logging.LoggerAdapter[logging.Logger]):
    """Logs events with their fields: `log.info("session ended", outcome="final", audio_s=4.2)`.

    The fields given at construction, such as the session's id, stand in every line.
    """

    def __init__(self, logger: logging.Logger, **fields: object) -> None:
        super().__init__(logger)
        self.fields = fields

    def with_fields(self, **fields: object) -> "EventLog":
        """The same log with more fields in every line."""
        return EventLog(self.logger, **{**self.fields, **fields})

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Move all but logging's own keywords into the record's fields."""
        own = {name: kwargs[name] for name in ("exc_info", "stack_info") if name in kwargs}
        fields = {name: value for name, value in kwargs.items() if name not in own}
        return msg, {**own, "extra": {_FIELDS: {**self.fields, **fields}}}

    # LoggerAdapter's own signatures know no fields, so a type checker would refuse them.

    def info(self, event: str, **fields: object) -> None:  # pyright: ignore
        self.log(logging.INFO, event, **fields)  # pyright: ignore

    def warning(self, event: str, **fields: object) -> None:  # pyright: ignore
        self.log(logging.WARNING, event, **fields)  # pyright: ignore

    def error(self, event: str, **fields: object) -> None:  # pyright: ignore
        self.log(logging.ERROR, event, **fields)  # pyright: ignore


def configure_logging(log_format: LogFormat) -> None:
    """Send all logs to standard error in the given format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


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
    quoted = not text or any(character in text for character in ' "\n\r=')
    return json.dumps(text, ensure_ascii=False) if quoted else text
