"""`/api/speech/asr`, Gradium's protocol: the design of moshi-server in JSON, with a flush.

The first message is `setup`, which says how the audio is written. Finals are up to the client:
from the probabilities in `step`, or from `flushed`.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import Any

from google.protobuf.duration_pb2 import Duration

from gateway.closing import CloseCode, Closing, Outcome
from gateway.protocols.codec import (
    MIB,
    Door,
    End,
    Farewell,
    Handshake,
    Item,
    KeyPlaces,
    Message,
    ProtocolError,
)
from gateway.protocols.early_words import EarlyWords, WordEnd, WordText
from gateway.protocols.messages import (
    Json,
    check_id,
    decode_audio,
    parse_object,
    quote,
    to_seconds,
    to_text,
)
from gateway.protocols.wav import SAMPLE_RATES_HERTZ, WavFormat, WavReader
from stt.v1 import stt_pb2

IDLE_TIMEOUT_S = 60
PAUSE_HORIZONS_S = (0.5, 1.0, 2.0, 3.0)
"""What the heads of Kyutai's 1B model predict, in their order."""

_EVENTS = (
    stt_pb2.OPTIONAL_EVENT_WORD,
    stt_pb2.OPTIONAL_EVENT_STEP,
    stt_pb2.OPTIONAL_EVENT_VAD_END,
)
_SETUP = 'The first message must be {"type":"setup","input_format":"pcm"}.'
_USAGE = 'After setup, messages have the type "audio", "flush" or "end_of_stream".'
_FORMATS = "pcm, pcm_8000 to pcm_48000, wav, opus, mulaw_8000 and alaw_8000"
_G711_HERTZ = 8_000
_CLIENT_FAULTS = (Outcome.BAD_REQUEST, Outcome.BAD_AUDIO, Outcome.TOO_BIG, Outcome.SLOW_CLIENT)


class GradiumCodec:
    """One session of `/api/speech/asr`."""

    def __init__(self, handshake: Handshake) -> None:
        del handshake
        self._words = EarlyWords()
        self._is_set_up = False
        self._is_ready = False
        self._config = stt_pb2.StreamingConfig()
        self._wav: WavReader | None = None
        self._model_name = "default"
        self._frame_s = 0.08
        self._flush_ids: deque[Any] = deque()
        self._is_pause = False

    def greet(self) -> list[Item]:
        """The client speaks first."""
        return []

    def decode(self, message: Message) -> list[Item]:
        """Read `setup`, then the rest."""
        usage = _USAGE if self._is_set_up else _SETUP
        if isinstance(message, bytes):
            raise ProtocolError(f"A message is binary. {usage}")
        parsed = parse_object(message, usage)
        kind = parsed.get("type")
        if not self._is_set_up:
            if kind != "setup":
                raise ProtocolError(f"A message has the type {quote(kind)}. {usage}")
            return [self._set_up(parsed)]
        match kind:
            case "audio":
                return self._decode_audio(decode_audio(parsed.get("audio"), "audio"))
            case "flush":
                return [self._decode_flush(parsed.get("flush_id"))]
            case "end_of_stream":
                return [End()]
            case other:
                raise ProtocolError(f"A message has the type {quote(other)}. {usage}")

    def stalled(self) -> list[Item]:
        """The service itself flushes when audio stalls."""
        return []

    def encode_event(self, response: stt_pb2.StreamingTranscribeResponse) -> list[Message]:
        """Words that are complete, then the event itself, if this protocol has it."""
        kind = response.WhichOneof("event")
        if kind == "ready":
            return self._encode_ready(response.ready)
        messages = [_encode_word(found) for found in self._words.feed(response)]
        match kind:
            case "step":
                messages.append(self._encode_step(response))
            case "token":
                self._is_pause = False
            case "vad_end":
                self._is_pause = True
            case "flushed" if self._flush_ids:
                messages.append({"type": "flushed", "flush_id": self._flush_ids.popleft()})
            case "final":
                messages.append({"type": "end_of_stream"})
            case _:
                pass
        return [to_text(message) for message in messages]

    def encode_ping(self) -> list[Message]:
        """There is no message for that."""
        return []

    def encode_closing(self, closing: Closing) -> Farewell:
        """An `error` with one of the two codes that this protocol has, and the same code after."""
        if closing.error is None:
            return Farewell((), closing.code or CloseCode.NORMAL, closing.text)
        is_client_fault = closing.outcome in _CLIENT_FAULTS
        code = CloseCode.POLICY if is_client_fault else CloseCode.INTERNAL
        error = {"type": "error", "message": closing.error, "code": int(code)}
        return Farewell((to_text(error),), code, closing.text)

    def _set_up(self, setup: Json) -> stt_pb2.StreamingConfig:
        input_format: object = setup.get("input_format", "wav")
        if (model_name := setup.get("model_name")) is not None:
            check_id(model_name, "model_name")
            self._model_name = model_name
        self._config = _make_config(input_format)
        if input_format == "wav":
            self._wav = WavReader()
        self._is_set_up = True
        return self._config

    def _decode_audio(self, data: bytes) -> list[Item]:
        items: list[Item] = []
        if self._wav is not None:
            had_format = self._wav.format is not None
            data = self._wav.feed(data)
            if not had_format and self._wav.format is not None:
                items += self._follow_header(self._wav.format)
        if data:
            items.append(data)
        return items

    def _follow_header(self, found: WavFormat) -> list[Item]:
        """The call was opened before the header came, since some clients wait for `ready`."""
        config = _make_pcm_config(found.encoding, found.sample_rate_hertz)
        if config == self._config:
            return []
        self._config = config
        return [config]

    def _decode_flush(self, flush_id: object) -> stt_pb2.Flush:
        check_id(flush_id, "flush_id")
        self._flush_ids.append(flush_id)
        # They are answered in order, so that theirs need not be ours.
        return stt_pb2.Flush()

    def _encode_ready(self, ready: stt_pb2.Ready) -> list[Message]:
        if self._is_ready:
            return []
        self._is_ready = True
        self._frame_s = ready.frame_samples / (ready.sample_rate_hertz or 1)
        # So many further frames make the text of a frame complete.
        delay_in_frames = math.ceil(to_seconds(ready.delay) / (self._frame_s or 1))
        message: Json = {
            "type": "ready",
            "request_id": ready.session_id,
            "model_name": self._model_name,
            "sample_rate": ready.sample_rate_hertz,
            "frame_size": ready.frame_samples,
            "delay_in_frames": delay_in_frames,
            "delay_in_tokens": delay_in_frames,
            "text_stream_names": [],
        }
        return [to_text(message)]

    def _encode_step(self, response: stt_pb2.StreamingTranscribeResponse) -> Json:
        step = response.step
        # A model without VAD heads has its pauses from the text, and is certain of them.
        certain = [float(self._is_pause)] * len(PAUSE_HORIZONS_S)
        probabilities = list(step.pause_probabilities) or certain
        return {
            "type": "step",
            "vad": [
                {"horizon_s": horizon_s, "inactivity_prob": round(probability, 4)}
                for horizon_s, probability in zip(PAUSE_HORIZONS_S, probabilities, strict=False)
            ],
            "step_idx": step.index,
            "step_duration_s": self._frame_s,
            "total_duration_s": to_seconds(response.processed_offset),
        }


DOOR = Door(
    name="gradium",
    paths=("/api/speech/asr",),
    make_codec=GradiumCodec,
    key_places=KeyPlaces(header="x-api-key"),
    max_message_bytes=8 * MIB,
    first_message_s=10.0,
)


def _make_config(input_format: object) -> stt_pb2.StreamingConfig:
    match input_format:
        case "opus":
            return _make_pcm_config(stt_pb2.ENCODING_OGG_OPUS, 0)
        case "ulaw_8000" | "mulaw_8000":
            return _make_pcm_config(stt_pb2.ENCODING_MULAW, _G711_HERTZ)
        case "alaw_8000":
            return _make_pcm_config(stt_pb2.ENCODING_ALAW, _G711_HERTZ)
        case "pcm" | "wav":
            return _make_pcm_config(stt_pb2.ENCODING_PCM_S16LE, 24_000)
        case str() if found := re.fullmatch(r"pcm_([0-9]{4,5})", input_format):
            rate = int(found[1])
            if SAMPLE_RATES_HERTZ[0] <= rate <= SAMPLE_RATES_HERTZ[1]:
                return _make_pcm_config(stt_pb2.ENCODING_PCM_S16LE, rate)
        case _:
            pass
    raise ProtocolError(f"There is no input_format {quote(input_format)}. Known are: {_FORMATS}.")


def _make_pcm_config(
    encoding: stt_pb2.Encoding.ValueType, sample_rate_hertz: int
) -> stt_pb2.StreamingConfig:
    return stt_pb2.StreamingConfig(
        encoding=encoding,
        sample_rate_hertz=sample_rate_hertz,
        events=_EVENTS,
        idle_timeout=Duration(seconds=IDLE_TIMEOUT_S),
    )


def _encode_word(found: WordText | WordEnd) -> Json:
    # A reader in Rust insists on the number of the stream.
    match found:
        case WordText(text, start_s):
            return {"type": "text", "text": text, "start_s": start_s, "stream_id": 0}
        case WordEnd(end_s):
            return {"type": "end_text", "stop_s": end_s, "stream_id": 0}
