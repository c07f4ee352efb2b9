"""The messages of the WebSocket protocol ↔ typed events."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from client.options import Encoding, SessionOptions
from client.rpc.errors import ServerFailed
from client.rpc.events import Final, Flushed, Pause, Ping, Ready, ServerEvent, Timing, Token, Word

Json = dict[str, Any]

_MAX_QUOTE = 80


@dataclass(frozen=True)
class ErrorMessage:
    """Why the server is about to close the session."""

    text: str
    reason: str | None = None
    """The reason's name (docs/websocket.md); None from a gateway that gives none."""


def encode_query(options: SessionOptions) -> list[tuple[str, str]]:
    """The query string that asks for everything that a replay needs to know."""
    query = [("events", "ready,word,flushed,final"), ("timing", "1")]
    if options.encoding is not Encoding.PCM_F32LE:
        query.append(("encoding", options.encoding.value))
    numbers = {
        "vad_threshold": options.vad.threshold,
        "pause_seconds": options.vad.pause_s,
        "idle_timeout": options.idle_timeout_s,
        "stall_timeout": options.stall_timeout_s,
    }
    query += [(name, f"{value:.9f}") for name, value in numbers.items() if value is not None]
    return query


def decode_message(message: str | bytes) -> ServerEvent | ErrorMessage | None:
    """The event or error in a message; None for a type that this client does not know.

    Raises `ServerFailed` for a message that breaks the protocol.
    """
    try:
        content: Any = json.loads(message, parse_constant=_refuse)
        if content["type"] == "error":
            reason = _text(content, "reason") if "reason" in content else None
            return ErrorMessage(_text(content, "message"), reason)
        return decode_event(content)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ServerFailed(
            f"The service sent a message that is not understood: {message[:_MAX_QUOTE]!r}."
        ) from error


def decode_event(message: Json) -> ServerEvent | None:
    """The typed event of a message; None for one that this client does not know.

    Raises LookupError, TypeError or ValueError if a field is missing or of the wrong type.
    """
    timing = Timing(
        processed_s=_number(message, "processed", 0.0),
        lag_s=_number(message, "lag", 0.0),
        step_time=_number(message, "step_time") if "step_time" in message else None,
    )
    match message["type"]:
        case "ready":
            return Ready(
                _text(message, "session_id"),
                _number(message, "delay"),
                int(_number(message, "frame_samples")),
                int(_number(message, "sample_rate")),
                timing,
            )
        case "token":
            return Token(_text(message, "text"), _number(message, "start", 0.0), timing)
        case "word":
            return _word(message, timing)
        case "vad_end":
            return Pause(_number(message, "offset", 0.0), timing)
        case "ping":
            return Ping(timing)
        case "flushed":
            return Flushed(_text(message, "flush_id"), timing)
        case "final":
            words = tuple(_word(word, timing) for word in cast("list[Json]", message["words"]))
            duration_s = _number(message, "audio_duration")
            return Final(_text(message, "transcript"), words, duration_s, timing)
        case _:
            return None


def _word(message: Json, timing: Timing) -> Word:
    return Word(
        _text(message, "text"),
        _number(message, "start"),
        _number(message, "end"),
        _number(message, "confidence"),
        timing,
    )


def _text(message: Json, name: str) -> str:
    value = message[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is not text")
    return value


def _number(message: Json, name: str, default: float | None = None) -> float:
    value = message[name] if default is None else message.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{name} is not a number")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
