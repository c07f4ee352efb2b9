"""`/v1/stream`, the protocol of our own: raw audio in, one line of JSON for each event out.

What a client has not asked for in the query string it never sees: without one that is `token`,
`vad_end`, `ping` and `error`, and a token has a type and a text and nothing else.
"""

from __future__ import annotations

import re

from gateway.closing import CloseCode, Closing
from gateway.protocols.codec import (
    Door,
    End,
    Farewell,
    Handshake,
    Item,
    Message,
    ProtocolError,
)
from gateway.protocols.documented_query import (
    DOCUMENTED_EVENTS,
    ENCODINGS,
    MAX_PAUSE_S,
    StreamOptions,
    asks_for_events,
    parse_query,
)
from gateway.protocols.messages import (
    Json,
    check_unicode,
    parse_object,
    quote,
    to_seconds,
    to_text,
)
from stt.v1 import stt_pb2

MAX_FLUSH_ID = 256
MAX_COMMAND = 4_096
MAX_CLOSE_TEXT_BYTES = 123
"""RFC 6455, section 5.5: 125 for the payload of a control frame, two of them for the code."""

_ENCODING_NAMES = {encoding: name for name, encoding in ENCODINGS.items()}
# As `quote` writes it, which may have been cut short by a "…".
_QUOTED = re.compile(r'"(?:[^"\\…]|\\[^…])*\\?(?:["…]|$)')
_USAGE = (
    'Text messages are {"type":"flush","flush_id":"…"}, {"type":"end"} and '
    '{"type":"vad","threshold":0.5,"pause_seconds":2}; audio is binary.'
)


class DocumentedCodec:
    """One session of `/v1/stream`."""

    def __init__(self, handshake: Handshake) -> None:
        self._query = handshake.query
        # Known even of a query that is refused.
        self._wants_reasons = asks_for_events(handshake.query)
        self._options = StreamOptions(stt_pb2.StreamingConfig())

    def greet(self) -> list[Item]:
        """Open the call with what the query string asks for."""
        self._options = parse_query(self._query)
        return [self._options.config]

    def decode(self, message: Message) -> list[Item]:
        """Audio as it is; a command in a text message."""
        return [message if isinstance(message, bytes) else decode_command(message)]

    def stalled(self) -> list[Item]:
        """The service itself flushes when audio stalls."""
        return []

    def encode_event(self, response: stt_pb2.StreamingTranscribeResponse) -> list[Message]:
        """The event, if the client wants it."""
        message = encode_event(response, self._options)
        return [] if message is None else [to_text(message)]

    def encode_ping(self) -> list[Message]:
        """A message of its own."""
        return [to_text({"type": "ping"})]

    def encode_closing(self, closing: Closing) -> Farewell:
        """An `error` with the name of its reason, for a client that asked for any events."""
        code = closing.code or CloseCode.NORMAL
        if closing.error is None:
            return Farewell((), code, closing.text)
        named = {"reason": closing.reason} if closing.reason and self._wants_reasons else {}
        message = to_text({"type": "error", "message": closing.error, **named})
        # A client that sends before it reads, as the shortest one does, has its send fail, and is
        # shown the close and not the message before it.
        return Farewell((message,), code, cut_close_text(omit_quotes(closing.error)))


def omit_quotes(text: str) -> str:
    """Without what `quote` quotes of a client: its library may log a close, and a key be in it."""
    return _QUOTED.sub(lambda quoted: quoted[0] if quoted[0] in _USAGE else '"…"', text)


def cut_close_text(text: str) -> str:
    """As much of a text as a close frame holds."""
    if len(text.encode()) <= MAX_CLOSE_TEXT_BYTES:
        return text
    kept = text.encode()[: MAX_CLOSE_TEXT_BYTES - len("…".encode())]
    return kept.decode(errors="ignore") + "…"


DOOR = Door(
    name="documented",
    paths=("/v1/stream",),
    make_codec=DocumentedCodec,
    is_framed=False,
)


def encode_server_info(info: stt_pb2.GetServerInfoResponse) -> Json:
    """The model and its slots, as `/v1/info` shows them."""
    return {
        "model_name": info.model_name,
        "description": info.description,
        "version": info.version,
        "sample_rate": info.sample_rate_hertz,
        "frame_samples": info.frame_samples,
        "delay": to_seconds(info.delay),
        "has_semantic_vad": info.has_semantic_vad,
        "slots_total": info.slots_total,
        "slots_free": info.slots_free,
    }


def decode_command(text: str) -> stt_pb2.Flush | stt_pb2.VadSettings | End:
    """Read a text message of the client. Raises `ProtocolError`."""
    if len(text) > MAX_COMMAND:
        raise ProtocolError(f"A text message is longer than {MAX_COMMAND} characters. {_USAGE}")
    message = parse_object(text, _USAGE)
    match message.get("type"):
        case "flush":
            return stt_pb2.Flush(flush_id=_parse_flush_id(message.get("flush_id", "")))
        case "vad":
            return _parse_vad(message)
        case "end":
            return End()
        case other:
            raise ProtocolError(f"A text message has the type {quote(other)}. {_USAGE}")


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


def _encode_body(kind: str, response: stt_pb2.StreamingTranscribeResponse) -> Json:
    match kind:
        case "token":
            return {"text": response.token.text}
        case "word":
            return _encode_word(response.word)
        case "flushed":
            return {"flush_id": response.flushed.flush_id}
        case "ready":
            return _encode_ready(response.ready)
        case "step":
            probabilities = response.step.pause_probabilities
            return {
                "index": response.step.index,
                "pause_probabilities": [round(value, 4) for value in probabilities],
                "mid_word": response.step.mid_word,
            }
        case "utterance":
            return _encode_utterance(response.utterance)
        case "final":
            return {
                "transcript": response.final.transcript,
                "words": [_encode_word(word) for word in response.final.words],
                "audio_duration": to_seconds(response.final.audio_duration),
                # Only of a session that said more than a message holds.
                **({"is_cut": True} if response.final.is_cut else {}),
            }
        case _:
            return {}


def _encode_ready(ready: stt_pb2.Ready) -> Json:
    message: Json = {
        "session_id": ready.session_id,
        "delay": to_seconds(ready.delay),
        "frame_samples": ready.frame_samples,
        "sample_rate": ready.sample_rate_hertz,
    }
    # Unset by services before 0.2.
    if (encoding := _ENCODING_NAMES.get(ready.audio_encoding)) is not None:
        message["audio_encoding"] = encoding
        message["audio_sample_rate"] = ready.audio_sample_rate_hertz or None
    return message


def _encode_utterance(utterance: stt_pb2.Utterance) -> Json:
    return {
        "text": utterance.text,
        "start": to_seconds(utterance.start_offset),
        "end": to_seconds(utterance.end_offset),
        "words": [_encode_word(word) for word in utterance.words],
    }


def _encode_word(word: stt_pb2.Word) -> Json:
    return {
        "text": word.text,
        "start": to_seconds(word.start_offset),
        "end": to_seconds(word.end_offset),
        # float32 on the wire: more digits would be noise.
        "confidence": round(word.confidence, 4),
    }


def _add_timing(message: Json, response: stt_pb2.StreamingTranscribeResponse) -> None:
    if response.HasField("token"):
        message["start"] = to_seconds(response.token.start_offset)
    if response.HasField("vad_end"):
        message["offset"] = to_seconds(response.vad_end.offset)
    message["processed"] = to_seconds(response.processed_offset)
    message["lag"] = to_seconds(response.lag)
    if response.HasField("step_time"):
        message["step_time"] = response.step_time.ToNanoseconds() / 1e9


def _parse_flush_id(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_FLUSH_ID:
        raise ProtocolError(f"flush_id must be a string of at most {MAX_FLUSH_ID} characters.")
    check_unicode(value, "flush_id")
    return value


def _parse_vad(message: Json) -> stt_pb2.VadSettings:
    return stt_pb2.VadSettings(
        threshold=_parse_number(message, "threshold", 1.0, "below 1"),
        pause_seconds=_parse_number(message, "pause_seconds", MAX_PAUSE_S),
    )


def _parse_number(message: Json, name: str, limit: float, upper: str | None = None) -> float:
    """A number above 0 and at most `limit`, or below it if `upper` says so; 0 where it is not set,
    which is the service's default."""
    value: object = message.get(name)
    if value is None:
        return 0.0
    number = float(value) if isinstance(value, int | float) and value is not True else 0.0
    if not 0.0 < number <= limit or (upper is not None and number == limit):
        bounds = f"above 0 and {upper or f'at most {limit:g}'}"
        raise ProtocolError(f"{name} is {quote(value)}; it must be a number {bounds}.")
    return number
