"""The messages of `/v1/stream` as a pure codec: no socket, no clock, no state.

Text message → `Flush` or `End`; service event → JSON text or None. A client gets only
what it asked for in the query string. Without one that is `token`, `vad_end`, `ping` and `error`,
and a token has only a type and a text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf.duration_pb2 import Duration

from gateway.query import DOCUMENTED_EVENTS, ProtocolError, StreamOptions, quote
from stt.v1 import stt_pb2

Json = dict[str, Any]

MAX_FLUSH_ID = 256
MAX_COMMAND = 4_096


@dataclass(frozen=True)
class End:
    """The client sends no more audio: transcribe the rest, then close."""


Command = stt_pb2.Flush | End


def decode_command(text: str) -> Command:
    """Decode a text message of the client. Raises `ProtocolError`."""
    usage = 'Text messages are {"type":"flush","flush_id":"…"} and {"type":"end"}; audio is binary.'
    if len(text) > MAX_COMMAND:
        raise ProtocolError(f"A text message is longer than {MAX_COMMAND} characters. {usage}")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A text message is not JSON. {usage}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError(f"A text message is not a JSON object. {usage}")
    message = cast("Json", parsed)
    match message.get("type"):
        case "flush":
            return stt_pb2.Flush(flush_id=_decode_flush_id(message.get("flush_id", "")))
        case "end":
            return End()
        case other:
            raise ProtocolError(f"A text message has the type {quote(other)}. {usage}")


def encode_event(
    response: stt_pb2.StreamingTranscribeResponse, options: StreamOptions
) -> Json | None:
    """The message for one event of the service, or None if the client did not ask for it."""
    kind = response.WhichOneof("event")
    # A newer service may know events that this gateway does not.
    if kind is None or (kind not in DOCUMENTED_EVENTS and kind not in options.events):
        return None
    message = _encode_body(kind, response)
    if options.timing:
        _add_timing(message, response)
    return {"type": kind, **message}


def encode_ping() -> Json:
    """A keep-alive message."""
    return {"type": "ping"}


def encode_error(message: str, reason: str | None = None) -> Json:
    """Why the session ends; with `reason` for a client that asks for it."""
    named = {} if reason is None else {"reason": reason}
    return {"type": "error", "message": message, **named}


def encode_server_info(info: stt_pb2.GetServerInfoResponse) -> Json:
    """The model and its slots, as `/v1/info` shows them."""
    return {
        "model_name": info.model_name,
        "description": info.description,
        "version": info.version,
        "sample_rate": info.sample_rate_hertz,
        "frame_samples": info.frame_samples,
        "delay": _seconds(info.delay),
        "has_semantic_vad": info.has_semantic_vad,
        "slots_total": info.slots_total,
        "slots_free": info.slots_free,
    }


def encode_message(message: Json) -> str:
    """A message as one line of JSON text."""
    return json.dumps(message, ensure_ascii=False, separators=(", ", ": "))


def _encode_body(kind: str, response: stt_pb2.StreamingTranscribeResponse) -> Json:
    match kind:
        case "token":
            return {"text": response.token.text}
        case "word":
            return _encode_word(response.word)
        case "flushed":
            return {"flush_id": response.flushed.flush_id}
        case "ready":
            return {
                "session_id": response.ready.session_id,
                "delay": _seconds(response.ready.delay),
                "frame_samples": response.ready.frame_samples,
                "sample_rate": response.ready.sample_rate_hertz,
            }
        case "final":
            return {
                "transcript": response.final.transcript,
                "words": [_encode_word(word) for word in response.final.words],
                "audio_duration": _seconds(response.final.audio_duration),
                # Only of a session that said more than a message holds.
                **({"is_cut": True} if response.final.is_cut else {}),
            }
        case _:
            return {}


def _encode_word(word: stt_pb2.Word) -> Json:
    return {
        "text": word.text,
        "start": _seconds(word.start_offset),
        "end": _seconds(word.end_offset),
        # float32 on the wire: more digits would be noise.
        "confidence": round(word.confidence, 4),
    }


def _add_timing(message: Json, response: stt_pb2.StreamingTranscribeResponse) -> None:
    if response.HasField("token"):
        message["start"] = _seconds(response.token.start_offset)
    if response.HasField("vad_end"):
        message["offset"] = _seconds(response.vad_end.offset)
    message["processed"] = _seconds(response.processed_offset)
    message["lag"] = _seconds(response.lag)
    if response.HasField("step_time"):
        message["step_time"] = response.step_time.ToNanoseconds() / 1e9


def _seconds(duration: Duration) -> float:
    return round(duration.seconds + duration.nanos * 1e-9, 6)


def _decode_flush_id(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_FLUSH_ID:
        raise ProtocolError(f"flush_id must be a string of at most {MAX_FLUSH_ID} characters.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can write half a surrogate pair, which no UTF-8 can.
        raise ProtocolError("flush_id is not valid Unicode.") from error
    return value
