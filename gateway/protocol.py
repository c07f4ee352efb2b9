"""The WebSocket protocol of `/v1/stream` as a pure codec: no socket, no clock, no state.

Query string → `StreamOptions`; text message → `Flush` or `End`; service event → JSON text or None.
What a client has not asked for it never sees: without a query string that is `token`, `vad_end`,
`ping` and `error`, and a token has a type and a text and nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, assert_never, cast
from urllib.parse import parse_qsl

from google.protobuf.duration_pb2 import Duration

from stt.v1 import stt_pb2

Json = dict[str, Any]

ENCODINGS = {
    "pcm_f32le": stt_pb2.ENCODING_PCM_F32LE,
    "pcm_s16le": stt_pb2.ENCODING_PCM_S16LE,
    "mulaw": stt_pb2.ENCODING_MULAW,
    "ogg_opus": stt_pb2.ENCODING_OGG_OPUS,
}
DOCUMENTED_EVENTS = frozenset({"token", "vad_end", "ping", "error"})
OPTIONAL_EVENTS = frozenset({"word", "flushed", "final", "ready"})
PARAMETERS = (
    "events",
    "encoding",
    "sample_rate",
    "vad_threshold",
    "pause_seconds",
    "idle_timeout",
    "stall_timeout",
    "timing",
)

SAMPLE_RATES_HERTZ = (8_000, 192_000)
LONGEST_TIMEOUT_S = 600.0
LONGEST_PAUSE_S = 60.0
LONGEST_FLUSH_ID = 256
LONGEST_COMMAND = 4_096

_MOST_PARAMETERS = 32
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class ProtocolError(ValueError):
    """The client's query string or text message is not understood; the text says what is."""


@dataclass(frozen=True)
class StreamOptions:
    """What a client asked for in the query string."""

    config: stt_pb2.StreamingConfig
    events: frozenset[str] = field(default=frozenset())
    """Optional events that the client wants besides the documented ones."""
    timing: bool = False
    """Whether events carry `processed`, `lag` and `step_time`, and tokens their `start`."""


@dataclass(frozen=True)
class End:
    """The client has said all it had to say: finish its words, then close."""


Command = stt_pb2.Flush | End


def parse_query(query: str) -> StreamOptions:
    """Read a query string, without its question mark. Raises `ProtocolError`."""
    given = _collect_parameters(query)
    events = _parse_events(given.pop("events", []))
    single = {name: values[0] for name, values in given.items()}
    config = stt_pb2.StreamingConfig(
        encoding=_parse_encoding(single.get("encoding")),
        sample_rate_hertz=_parse_sample_rate(single.get("sample_rate")),
        events=_service_events(events),
    )
    vad = stt_pb2.VadSettings()
    if (threshold := single.get("vad_threshold")) is not None:
        vad.threshold = _parse_number("vad_threshold", threshold, 1.0, "below 1")
    if (pause := single.get("pause_seconds")) is not None:
        vad.pause_seconds = _parse_number("pause_seconds", pause, LONGEST_PAUSE_S)
    if vad.ByteSize():
        config.vad.CopyFrom(vad)
    if (idle := single.get("idle_timeout")) is not None:
        config.idle_timeout.CopyFrom(_parse_timeout("idle_timeout", idle))
    if (stall := single.get("stall_timeout")) is not None:
        config.stall_timeout.CopyFrom(_parse_timeout("stall_timeout", stall))
    return StreamOptions(config, events, _parse_flag("timing", single.get("timing")))


def parse_command(text: str) -> Command:
    """Read a text message of the client. Raises `ProtocolError`."""
    usage = 'Text messages are {"type":"flush","flush_id":"…"} and {"type":"end"}; audio is binary.'
    if len(text) > LONGEST_COMMAND:
        raise ProtocolError(f"A text message is longer than {LONGEST_COMMAND} characters. {usage}")
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A text message is not JSON. {usage}") from error
    if not isinstance(parsed, dict):
        raise ProtocolError(f"A text message is not a JSON object. {usage}")
    message = cast("Json", parsed)
    match message.get("type"):
        case "flush":
            return stt_pb2.Flush(flush_id=_parse_flush_id(message.get("flush_id", "")))
        case "end":
            return End()
        case other:
            raise ProtocolError(f"A text message has the type {_quote(other)}. {usage}")


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
    """A sign of life while there is nothing else to say."""
    return {"type": "ping"}


def encode_error(message: str) -> Json:
    """Why the session ends."""
    return {"type": "error", "message": message}


def encode_server_info(info: stt_pb2.GetServerInfoResponse) -> Json:
    """What is served, for the page and for people."""
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


def to_text(message: Json) -> str:
    """A message as the one line of JSON that goes over the wire."""
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


def _collect_parameters(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise ProtocolError(f"The query string is not understood: {error}.") from error
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ProtocolError(f"There is no parameter {_quote(name)}. Known are: {known}.")
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if name != "events" and len(values) > 1:
            raise ProtocolError(f"The parameter {name} is given {len(values)} times.")
    return given


def _parse_events(lists: Iterable[str]) -> frozenset[str]:
    wanted = {name.strip() for names in lists for name in names.split(",")} - {""}
    for name in sorted(wanted - OPTIONAL_EVENTS - DOCUMENTED_EVENTS):
        known = ", ".join(sorted(OPTIONAL_EVENTS))
        raise ProtocolError(f"There is no optional event {_quote(name)}. Known are: {known}.")
    return frozenset(wanted & OPTIONAL_EVENTS)


def _service_events(events: frozenset[str]) -> list[stt_pb2.OptionalEvent.ValueType]:
    wanted = [stt_pb2.OPTIONAL_EVENT_VAD_END, stt_pb2.OPTIONAL_EVENT_PING]
    if "word" in events:
        wanted.append(stt_pb2.OPTIONAL_EVENT_WORD)
    return wanted


def _parse_encoding(value: str | None) -> stt_pb2.Encoding.ValueType:
    if value is None:
        return stt_pb2.ENCODING_PCM_F32LE
    if value not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ProtocolError(f"There is no encoding {_quote(value)}. Known are: {known}.")
    return ENCODINGS[value]


def _parse_sample_rate(value: str | None) -> int:
    if value is None:
        return 0
    lowest, highest = SAMPLE_RATES_HERTZ
    if re.fullmatch("[0-9]{1,9}", value) is None or not lowest <= int(value) <= highest:
        raise ProtocolError(
            f"sample_rate is {_quote(value)}; it must be a whole number of samples per second "
            f"from {lowest} to {highest}."
        )
    return int(value)


def _parse_number(name: str, value: str, limit: float, upper: str | None = None) -> float:
    """A number above 0 and at most `limit`; below it where `upper` says so in words."""
    number = float(value) if _NUMBER.fullmatch(value) else 0.0
    if not 0.0 < number <= limit or (upper is not None and number == limit):
        bounds = f"above 0 and {upper or f'at most {limit:g}'}"
        raise ProtocolError(f"{name} is {_quote(value)}; it must be a number {bounds}.")
    return number


def _parse_timeout(name: str, value: str) -> Duration:
    nanoseconds = round(_parse_number(name, value, LONGEST_TIMEOUT_S) * 1e9)
    duration = Duration()
    duration.FromNanoseconds(nanoseconds)
    return duration


def _parse_flag(name: str, value: str | None) -> bool:
    match value:
        case None | "0" | "false":
            return False
        case "1" | "true":
            return True
        case str():
            raise ProtocolError(f"{name} is {_quote(value)}; it must be 1 or 0.")
        case _:
            assert_never(value)


def _parse_flush_id(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_FLUSH_ID:
        raise ProtocolError(f"flush_id must be a string of at most {LONGEST_FLUSH_ID} characters.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # JSON can write half a surrogate pair, which no UTF-8 can.
        raise ProtocolError("flush_id is not valid Unicode.") from error
    return value


def _quote(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
