"""The query string of `/v1/stream`: what a client asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never
from urllib.parse import parse_qsl

from google.protobuf.duration_pb2 import Duration

from gateway.protocols.codec import ProtocolError
from gateway.protocols.messages import quote
from stt.v1 import stt_pb2

ENCODINGS = {
    "pcm_f32le": stt_pb2.ENCODING_PCM_F32LE,
    "pcm_s16le": stt_pb2.ENCODING_PCM_S16LE,
    "mulaw": stt_pb2.ENCODING_MULAW,
    "ogg_opus": stt_pb2.ENCODING_OGG_OPUS,
    "alaw": stt_pb2.ENCODING_ALAW,
}
DOCUMENTED_EVENTS = frozenset({"token", "vad_end", "ping", "error"})
OPTIONAL_EVENTS = frozenset({"word", "flushed", "final", "ready", "step", "utterance"})
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
MAX_TIMEOUT_S = 600.0
MAX_PAUSE_S = 60.0

# What the service sends only if it is asked; the other events come anyway.
_ON_REQUEST = {
    "word": stt_pb2.OPTIONAL_EVENT_WORD,
    "step": stt_pb2.OPTIONAL_EVENT_STEP,
    "utterance": stt_pb2.OPTIONAL_EVENT_UTTERANCE,
}
_WORDS = frozenset({"", "true", "false", *ENCODINGS}) | DOCUMENTED_EVENTS | OPTIONAL_EVENTS
_MAX_PARAMETERS = 32
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class StreamOptions:
    """What a client asked for in the query string."""

    config: stt_pb2.StreamingConfig
    events: frozenset[str] = field(default=frozenset())
    """Optional events that the client wants besides the documented ones."""
    timing: bool = False
    """Whether events carry `processed`, `lag` and `step_time`, and tokens their `start`."""


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
        vad.pause_seconds = _parse_number("pause_seconds", pause, MAX_PAUSE_S)
    if vad.ByteSize():
        config.vad.CopyFrom(vad)
    if (idle := single.get("idle_timeout")) is not None:
        config.idle_timeout.CopyFrom(_parse_timeout("idle_timeout", idle))
    if (stall := single.get("stall_timeout")) is not None:
        config.stall_timeout.CopyFrom(_parse_timeout("stall_timeout", stall))
    return StreamOptions(config, events, _parse_flag("timing", single.get("timing")))


def asks_for_events(query: str) -> bool:
    """Whether a query has the parameter `events`, be the rest of it understood or not.

    Such a client also gets the `reason` of an `error`.
    """
    return any(name == "events" for name, _ in parse_qsl(query, keep_blank_values=True))


def hide_unknown(query: str) -> str:
    """A query for the log: what is none of our parameters and values may be a key, and is `…`."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        return "…"
    return "&".join(
        f"{name}={value if _is_plain(value) else '…'}" if name in PARAMETERS else "…"
        for name, value in pairs
    )


def _is_plain(value: str) -> bool:
    return all(
        part.strip() in _WORDS or _NUMBER.fullmatch(part.strip()) for part in value.split(",")
    )


def _collect_parameters(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise ProtocolError(f"The query string is not understood: {error}.") from error
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ProtocolError(f"There is no parameter {quote(name)}. Known are: {known}.")
        given.setdefault(name, []).append(value)
    for name, values in given.items():
        if name != "events" and len(values) > 1:
            raise ProtocolError(f"The parameter {name} is given {len(values)} times.")
    return given


def _parse_events(lists: Iterable[str]) -> frozenset[str]:
    wanted = {name.strip() for names in lists for name in names.split(",")} - {""}
    for name in sorted(wanted - OPTIONAL_EVENTS - DOCUMENTED_EVENTS):
        known = ", ".join(sorted(OPTIONAL_EVENTS))
        raise ProtocolError(f"There is no optional event {quote(name)}. Known are: {known}.")
    return frozenset(wanted & OPTIONAL_EVENTS)


def _service_events(events: frozenset[str]) -> list[stt_pb2.OptionalEvent.ValueType]:
    wanted = [stt_pb2.OPTIONAL_EVENT_VAD_END, stt_pb2.OPTIONAL_EVENT_PING]
    wanted += [event for name, event in _ON_REQUEST.items() if name in events]
    return wanted


def _parse_encoding(value: str | None) -> stt_pb2.Encoding.ValueType:
    if value is None:
        return stt_pb2.ENCODING_PCM_F32LE
    if value not in ENCODINGS:
        known = ", ".join(ENCODINGS)
        raise ProtocolError(f"There is no encoding {quote(value)}. Known are: {known}.")
    return ENCODINGS[value]


def _parse_sample_rate(value: str | None) -> int:
    if value is None:
        return 0
    lowest, highest = SAMPLE_RATES_HERTZ
    if re.fullmatch("[0-9]{1,9}", value) is None or not lowest <= int(value) <= highest:
        raise ProtocolError(
            f"sample_rate is {quote(value)}; it must be a whole number of samples per second "
            f"from {lowest} to {highest}."
        )
    return int(value)


def _parse_number(name: str, value: str, limit: float, upper: str | None = None) -> float:
    """A number above 0 and at most `limit`; below it where `upper` says so in words."""
    number = float(value) if _NUMBER.fullmatch(value) else 0.0
    if not 0.0 < number <= limit or (upper is not None and number == limit):
        bounds = f"above 0 and {upper or f'at most {limit:g}'}"
        raise ProtocolError(f"{name} is {quote(value)}; it must be a number {bounds}.")
    return number


def _parse_timeout(name: str, value: str) -> Duration:
    nanoseconds = round(_parse_number(name, value, MAX_TIMEOUT_S) * 1e9)
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
            raise ProtocolError(f"{name} is {quote(value)}; it must be 1 or 0.")
        case _:
            assert_never(value)
