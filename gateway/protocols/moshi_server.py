"""`/api/asr-streaming`, the protocol of Kyutai's moshi-server (rust/moshi-server of
kyutai-labs/moshi): MessagePack both ways.

Its clients count one Step for each frame that they sent, know a pause by the Step's probabilities,
and learn by a marker that everything before it was transcribed. A marker comes back when the model
has heard its delay beyond the marker. That wants further audio; only where none comes is the
service made to flush.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from gateway.closing import CloseCode, Closing, Outcome
from gateway.protocols.codec import (
    MIB,
    Door,
    Farewell,
    Handshake,
    Item,
    KeyPlaces,
    Message,
    ProtocolError,
)
from gateway.protocols.early_words import EarlyWords, WordEnd, WordText
from gateway.protocols.messages import to_seconds
from gateway.protocols.moshi_messages import (
    Audio,
    Init,
    Marker,
    OggOpus,
    decode_message,
    encode_message,
    encode_step,
)
from stt.v1 import stt_pb2

SAMPLE_RATE_HERTZ = 24_000
SAMPLE_BYTES = 4
IDLE_TIMEOUT_S = 120
"""moshi-server's own: clients keep a socket for the life of a call and send nothing while muted."""
NO_FREE_CHANNELS = "no free channels"
"""moshi-server's words when every slot is taken."""
MAX_PENDING_MARKERS = 4096
"""One each 80 ms for 5 minutes."""

_EVENTS = (
    stt_pb2.OPTIONAL_EVENT_WORD,
    stt_pb2.OPTIONAL_EVENT_STEP,
    stt_pb2.OPTIONAL_EVENT_PING,
)
_EPSILON_S = 1e-6


@dataclass(slots=True)
class PendingMarker:
    """A client's marker, and how much audio came before it: None while nobody has said."""

    id: int
    position_s: float | None


class MoshiServerCodec:
    """One session of `/api/asr-streaming`."""

    def __init__(self, handshake: Handshake) -> None:
        del handshake
        self._words = EarlyWords()
        self._ready = False
        self._delay_s = 0.0
        self._processed_s = 0.0
        self._encoding: stt_pb2.Encoding.ValueType | None = None
        self._received_samples = 0
        self._markers: deque[PendingMarker] = deque()
        self._markers_received = 0
        self._markers_flushed = 0
        self._markers_sent = 0

    def greet(self) -> list[Item]:
        """Open the call: clients wait for Ready before they send anything."""
        return [_make_config(stt_pb2.ENCODING_PCM_F32LE)]

    def decode(self, message: Message) -> list[Item]:
        """One MessagePack map; text is not looked at, as moshi-server does not."""
        if isinstance(message, str):
            return []
        match decode_message(message):
            case Audio(pcm):
                items = self._expect(stt_pb2.ENCODING_PCM_F32LE)
                self._received_samples += len(pcm) // SAMPLE_BYTES
                return [*items, pcm]
            case OggOpus(data):
                return [*self._expect(stt_pb2.ENCODING_OGG_OPUS), data]
            case Marker(number):
                self._remember(number)
                return []
            case Init():
                return []

    def stalled(self) -> list[Item]:
        """One flush for all markers that wait for audio that does not come."""
        if self._markers_flushed == self._markers_received or not self._markers:
            return []
        self._markers_flushed = self._markers_received
        return [stt_pb2.Flush(flush_id=str(self._markers_received))]

    def encode_event(self, response: stt_pb2.StreamingTranscribeResponse) -> list[Message]:
        """Words that are complete, then a Step, then the markers that are due."""
        kind = response.WhichOneof("event")
        if kind == "ready":
            return self._encode_ready(response.ready)
        self._processed_s = to_seconds(response.processed_offset)
        messages: list[Message] = [_encode_word(found) for found in self._words.feed(response)]
        # A model without VAD heads has no Step at moshi-server either.
        if kind == "step" and response.step.pause_probabilities:
            probabilities = list(response.step.pause_probabilities)
            buffered = self._count_buffered(response)
            messages.append(encode_step(response.step.index, probabilities, buffered))
        self._place_markers(response)
        match kind:
            case "flushed":
                messages += self._take_markers_until(int(response.flushed.flush_id or 0))
            case "final":
                messages += self._take_markers_until(self._markers_received)
            case _:
                messages += self._take_due_markers()
        return messages

    def encode_ping(self) -> list[Message]:
        """There is no message for that."""
        return []

    def encode_closing(self, closing: Closing) -> Farewell:
        """An Error that begins with moshi-server's words where a client should go elsewhere."""
        error = closing.error
        match closing.outcome:
            case Outcome.FULL:
                error = NO_FREE_CHANNELS
            case Outcome.UNAVAILABLE | Outcome.RESTARTING if not self._ready:
                error = f"{NO_FREE_CHANNELS}: {error}"
            case _:
                pass
        messages = () if error is None else (encode_message("Error", message=error),)
        return Farewell(messages, closing.code or CloseCode.NORMAL, closing.text)

    def _expect(self, encoding: stt_pb2.Encoding.ValueType) -> list[Item]:
        """The first audio says how all of it is written; the call was opened for float32."""
        if self._encoding is None:
            self._encoding = encoding
            is_as_opened = encoding == stt_pb2.ENCODING_PCM_F32LE
            return [] if is_as_opened else [_make_config(encoding)]
        if encoding != self._encoding:
            raise ProtocolError("A session has either Audio messages or OggOpus messages.")
        return []

    def _remember(self, number: int) -> None:
        if len(self._markers) >= MAX_PENDING_MARKERS:
            raise ProtocolError(f"More than {MAX_PENDING_MARKERS} markers wait for their audio.")
        is_counted = self._encoding != stt_pb2.ENCODING_OGG_OPUS
        position_s = self._received_samples / SAMPLE_RATE_HERTZ if is_counted else None
        self._markers.append(PendingMarker(number, position_s))
        self._markers_received += 1

    def _place_markers(self, response: stt_pb2.StreamingTranscribeResponse) -> None:
        """Only the service knows the length of Ogg Opus, and says it with its next event."""
        for marker in self._markers:
            if marker.position_s is None:
                marker.position_s = self._processed_s + to_seconds(response.lag)

    def _take_due_markers(self) -> list[Message]:
        taken: list[Message] = []
        # A word that is being written is not cut in two; its markers follow it.
        while self._markers and not self._words.is_open and self._is_due(self._markers[0]):
            taken.append(self._take_marker())
        return taken

    def _is_due(self, marker: PendingMarker) -> bool:
        if marker.position_s is None:
            return False
        return self._processed_s >= marker.position_s + self._delay_s - _EPSILON_S

    def _take_markers_until(self, number: int) -> list[Message]:
        count = min(len(self._markers), max(0, number - self._markers_sent))
        return [self._take_marker() for _ in range(count)]

    def _take_marker(self) -> Message:
        self._markers_sent += 1
        return encode_message("Marker", id=self._markers.popleft().id)

    def _encode_ready(self, ready: stt_pb2.Ready) -> list[Message]:
        self._delay_s = to_seconds(ready.delay)
        if self._ready:
            return []
        self._ready = True
        return [encode_message("Ready")]

    def _count_buffered(self, response: stt_pb2.StreamingTranscribeResponse) -> int:
        """Samples that the client sent and the model has not heard."""
        if self._encoding == stt_pb2.ENCODING_OGG_OPUS:
            return round(to_seconds(response.lag) * SAMPLE_RATE_HERTZ)
        return max(0, self._received_samples - round(self._processed_s * SAMPLE_RATE_HERTZ))


DOOR = Door(
    name="moshi-server",
    paths=("/api/asr-streaming",),
    make_codec=MoshiServerCodec,
    key_places=KeyPlaces(header="kyutai-api-key", parameter="auth_id"),
    max_message_bytes=8 * MIB,
    # Half a second after it has connected, a client tries its next server.
    patience_s=0.4,
    wait_for_slot_s=0.0,
    stall_s=0.5,
)


def _make_config(encoding: stt_pb2.Encoding.ValueType) -> stt_pb2.StreamingConfig:
    return stt_pb2.StreamingConfig(
        encoding=encoding, events=_EVENTS, idle_timeout=Duration(seconds=IDLE_TIMEOUT_S)
    )


def _encode_word(found: WordText | WordEnd) -> Message:
    match found:
        case WordText(text, start_s):
            return encode_message("Word", text=text, start_time=start_s)
        case WordEnd(end_s):
            return encode_message("EndWord", stop_time=end_s)
