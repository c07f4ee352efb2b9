"""What the codecs of JSON protocols have in common: reading, writing, and what goes into them."""

from __future__ import annotations

import binascii
import json
from typing import Any, cast

from google.protobuf.duration_pb2 import Duration

from gateway.protocols.codec import ProtocolError

Json = dict[str, Any]

MAX_ID = 256
"""Most characters of an id that a client chooses, as JSON."""
_MAX_QUOTE = 60


def parse_object(text: str, usage: str) -> Json:
    """A text message's JSON object; `usage` is what a `ProtocolError` adds."""
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A text message is not JSON. {usage}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError(f"A text message is not a JSON object. {usage}")
    return cast("Json", parsed)


def to_text(message: Json) -> str:
    """A message as the one line of JSON that goes over the wire."""
    return json.dumps(message, ensure_ascii=False, separators=(", ", ": "))


def decode_audio(value: object, name: str) -> bytes:
    """The bytes of a base64 string; `name` is the field's. Raises `ProtocolError`."""
    try:
        if not isinstance(value, str):
            raise ValueError("it is no string")
        return binascii.a2b_base64(value, strict_mode=True)
    except ValueError as error:
        raise ProtocolError(f"{name} must be audio in base64: {error}.") from error


def check_id(value: object, name: str) -> None:
    """Raise `ProtocolError` unless a value that the client wants back may be sent back."""
    try:
        if isinstance(value, dict | list):
            raise ValueError
        # JSON has no word for infinity, though Python reads one.
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ProtocolError(f"{name} must be a string or a number.") from error
    if len(text) > MAX_ID:
        raise ProtocolError(f"{name} is longer than {MAX_ID} characters.")
    check_unicode(text, name)


def check_unicode(text: str, name: str) -> None:
    """Raise `ProtocolError` for half of a surrogate pair, which JSON can write and no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{name} is not valid Unicode.") from error


def quote(value: object) -> str:
    """A client's value as it may stand in a message to it: escaped, and not long."""
    text = json.dumps(value)
    return text if len(text) <= _MAX_QUOTE else f"{text[: _MAX_QUOTE - 1]}…"


def to_seconds(duration: Duration) -> float:
    """Seconds to the microsecond, which is what the service sends."""
    return round(duration.seconds + duration.nanos * 1e-9, 6)


def to_milliseconds(duration: Duration) -> int:
    """Whole milliseconds."""
    return duration.ToMilliseconds()
