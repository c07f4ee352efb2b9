"""What a client of OpenAI's realtime transcription asks for, in its two dialects.

`session.update` nests everything in `session.audio.input`; the older `transcription_session.update`
is flat. Both leave out what is to stay as it is, and `null` turns something off.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import cast

from google.protobuf.duration_pb2 import Duration

from gateway.protocols.codec import ProtocolError
from gateway.protocols.messages import Json, check_id, quote
from stt.v1 import stt_pb2

SAMPLE_RATE_HERTZ = 24_000
G711_HERTZ = 8_000
SAMPLE_RATES_HERTZ = (8_000, 192_000)
IDLE_TIMEOUT_S = 60
"""A client that pools its sockets keeps them after use; a slot is not kept as long."""
MODEL_PAUSES_S = (0.5, 1.0, 2.0, 3.0)
"""Pauses that every model finds: those of the VAD heads of Kyutai's 1B model."""
DEFAULT_SILENCE_MS = 500
EAGERNESS_S = {"high": 1.0, "auto": 2.0, "medium": 2.0, "low": 3.0}

UPDATE = "session.update"
OLD_UPDATE = "transcription_session.update"

_OLD_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_ENCODINGS = {
    "audio/pcm": stt_pb2.ENCODING_PCM_S16LE,
    "audio/pcmu": stt_pb2.ENCODING_MULAW,
    "audio/pcma": stt_pb2.ENCODING_ALAW,
}
_EVENTS = (stt_pb2.OPTIONAL_EVENT_VAD_END, stt_pb2.OPTIONAL_EVENT_UTTERANCE)


@dataclass(frozen=True)
class Settings:
    """A session's settings; the defaults are OpenAI's."""

    format: str = "audio/pcm"
    """`audio/pcm` (16-bit), `audio/pcmu` or `audio/pcma`."""
    sample_rate_hertz: int = SAMPLE_RATE_HERTZ
    model: str | None = None
    language: str | None = None
    detection: str | None = "server_vad"
    """`server_vad`, `semantic_vad`, or None: only the client ends a turn."""
    pause_s: float = 0.5

    def make_config(self) -> stt_pb2.StreamingConfig:
        """What the service is asked for."""
        return stt_pb2.StreamingConfig(
            encoding=_ENCODINGS[self.format],
            sample_rate_hertz=self.sample_rate_hertz,
            events=_EVENTS,
            vad=self.make_vad(),
            idle_timeout=Duration(seconds=IDLE_TIMEOUT_S),
        )

    def make_vad(self) -> stt_pb2.VadSettings:
        """What counts as a pause. Their threshold is one of loudness, which is nothing here."""
        return stt_pb2.VadSettings(pause_seconds=self.pause_s)

    def describe(self, session_id: str) -> Json:
        """The `session` of `session.created` and `session.updated`."""
        described: Json = {"type": self.format}
        if self.format == "audio/pcm":
            described["rate"] = self.sample_rate_hertz
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": described,
                    "transcription": {"model": self.model, "language": self.language},
                    "noise_reduction": None,
                    "turn_detection": self._describe_detection(),
                }
            },
        }

    def describe_flat(self, session_id: str) -> Json:
        """The same for a client of the older dialect."""
        formats = {name: old for old, name in _OLD_FORMATS.items()}
        return {
            "id": session_id,
            "object": "realtime.transcription_session",
            "input_audio_format": formats[self.format],
            "input_audio_transcription": {"model": self.model, "language": self.language},
            "turn_detection": self._describe_detection(),
        }

    def _describe_detection(self) -> Json | None:
        match self.detection:
            case "server_vad":
                milliseconds = round(self.pause_s * 1000)
                return {"type": "server_vad", "silence_duration_ms": milliseconds}
            case "semantic_vad":
                return {"type": "semantic_vad"}
            case _:
                return None


def update_settings(settings: Settings, message: Json) -> Settings:
    """The settings after an update of either dialect. Raises `ProtocolError`."""
    session = _child(message, "session")
    if message["type"] == OLD_UPDATE:
        old = session.get("input_audio_format")
        name = "input_audio_format"
        wanted = None if old is None else {"type": _OLD_FORMATS[_choose(name, old, _OLD_FORMATS)]}
        transcription = _child(session, "input_audio_transcription")
        place = session
    else:
        if (kind := session.get("type", "transcription")) != "transcription":
            raise ProtocolError(
                f'session.type is {quote(kind)}; here it is always "transcription".'
            )
        place = _child(_child(session, "audio"), "input")
        wanted = _child(place, "format") or None
        transcription = _child(place, "transcription")
    if wanted is not None:
        settings = _set_format(settings, wanted)
    for name in ("model", "language"):
        if name in transcription:
            settings = replace(settings, **{name: _read_name(transcription[name], name)})
    if "turn_detection" in place:
        settings = _set_detection(settings, place["turn_detection"])
    return settings


def choose_pause_s(silence_ms: float) -> float:
    """The pause nearest to a silence that every model finds; the shorter of two."""
    return min(MODEL_PAUSES_S, key=lambda pause_s: abs(pause_s - silence_ms / 1000))


def _set_format(settings: Settings, wanted: Json) -> Settings:
    name = _choose("format.type", wanted.get("type", settings.format), _OLD_FORMATS.values())
    rate: object = wanted.get("rate")
    if name != "audio/pcm":
        return replace(settings, format=name, sample_rate_hertz=G711_HERTZ)
    lowest, highest = SAMPLE_RATES_HERTZ
    if rate is None:
        rate = SAMPLE_RATE_HERTZ
    if not isinstance(rate, int) or not lowest <= rate <= highest:
        raise ProtocolError(f"format.rate is {quote(rate)}; it must be from {lowest} to {highest}.")
    return replace(settings, format=name, sample_rate_hertz=rate)


def _set_detection(settings: Settings, wanted: object) -> Settings:
    if wanted is None:
        return replace(settings, detection=None)
    detection = _as_object(wanted, "turn_detection")
    match detection.get("type", "server_vad"):
        case "server_vad":
            silence_ms: object = detection.get("silence_duration_ms")
            if silence_ms is None:
                silence_ms = DEFAULT_SILENCE_MS
            if not isinstance(silence_ms, int | float) or not 0 <= silence_ms <= 600_000:
                raise ProtocolError(
                    f"turn_detection.silence_duration_ms is {quote(silence_ms)}; "
                    "it must be a number of milliseconds."
                )
            pause_s = choose_pause_s(silence_ms)
            return replace(settings, detection="server_vad", pause_s=pause_s)
        case "semantic_vad":
            eagerness = _choose("eagerness", detection.get("eagerness") or "auto", EAGERNESS_S)
            return replace(settings, detection="semantic_vad", pause_s=EAGERNESS_S[eagerness])
        case other:
            raise ProtocolError(
                f"turn_detection.type is {quote(other)}; it is server_vad or semantic_vad."
            )


def _choose(name: str, value: object, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ProtocolError(f"{name} is {quote(value)}. Known are: {', '.join(known)}.")
    return value


def _read_name(value: object, name: str) -> str | None:
    check_id(value, name)
    return None if value is None else str(value)


def _child(parent: Json, name: str) -> Json:
    """An object in an object; an empty one where it is left out or null."""
    value: object = parent.get(name)
    return {} if value is None else _as_object(value, name)


def _as_object(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise ProtocolError(f"{name} is {quote(value)}; it must be an object.")
    return cast("Json", value)
