"""`/v1/realtime`, OpenAI's protocol, for sessions that only transcribe.

The server speaks first. `session.update` opens the call, or audio does where a client sends none.
Most mistakes are answered with an `error` and the session goes on, as OpenAI's does. Where it ends
because the service is full or restarts, there is none: every client connects again after a close,
and none does after an `error`.
"""

from __future__ import annotations

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
    Reply,
)
from gateway.protocols.messages import Json, decode_audio, parse_object, quote, to_text
from gateway.protocols.openai_settings import OLD_UPDATE, Settings, update_settings
from gateway.protocols.openai_turns import TurnTracker
from stt.v1 import stt_pb2

MAX_EVENT_ID = 64

_USAGE = "Send session.update and input_audio_buffer.append, .commit or .clear, as JSON text."
_KNOWN_CODES = {
    Outcome.TOO_BIG: "message_too_large",
    Outcome.BAD_AUDIO: "invalid_audio",
    Outcome.BAD_REQUEST: "invalid_request",
    Outcome.SLOW_CLIENT: "slow_consumer",
}
# Those that may pass, after which a client is to connect again.
_RETRIED = (Outcome.FULL, Outcome.UNAVAILABLE, Outcome.RESTARTING)


class OpenAiRealtimeCodec:
    """One session of `/v1/realtime`."""

    def __init__(self, handshake: Handshake) -> None:
        self._connection = handshake.connection or "0"
        self._speaks_old = "realtime=v1" in handshake.headers.get("openai-beta", "")
        self._turns = TurnTracker(self._connection)
        self._settings = Settings(model=handshake.parameters.get("model"))
        self._config: stt_pb2.StreamingConfig | None = None
        self._has_audio = False
        self._events_sent = 0

    def greet(self) -> list[Item]:
        """Some clients wait for `session.created` before they say what they want."""
        return [self._reply([self._describe_session("created", self._speaks_old)])]

    def decode(self, message: Message) -> list[Item]:
        """Read one event of the client. Every mistake is answered with an `error`."""
        if isinstance(message, bytes):
            return [self._complain(f"A message is binary. {_USAGE}", None)]
        event_id: object = None
        try:
            event = parse_object(message, _USAGE)
            event_id = event.get("event_id")
            return self._decode_event(event)
        except ProtocolError as error:
            return [self._complain(str(error), event_id)]

    def stalled(self) -> list[Item]:
        """The service itself flushes when audio stalls."""
        return []

    def encode_event(self, response: stt_pb2.StreamingTranscribeResponse) -> list[Message]:
        """What the turns make of it."""
        return [self._encode(event) for event in self._turns.feed(response)]

    def encode_ping(self) -> list[Message]:
        """There is no message for that."""
        return []

    def encode_closing(self, closing: Closing) -> Farewell:
        """An `error`, except where connecting again helps."""
        messages: tuple[Message, ...] = ()
        if closing.error is not None and closing.outcome not in _RETRIED:
            code = _KNOWN_CODES.get(closing.outcome, "server_error")
            kind = "server_error" if code == "server_error" else "invalid_request_error"
            messages = (self._encode(_make_error(kind, code, closing.error)),)
        return Farewell(messages, closing.code or CloseCode.NORMAL, closing.text)

    def _decode_event(self, event: Json) -> list[Item]:
        match event.get("type"):
            case "session.update" | "transcription_session.update":
                return self._update(event)
            case "input_audio_buffer.append":
                return self._append(decode_audio(event.get("audio"), "audio"))
            case "input_audio_buffer.commit":
                return [*self._open(), self._reply(self._turns.commit()), stt_pb2.Flush()]
            case "input_audio_buffer.clear":
                return [*self._open(), self._reply(self._turns.discard()), stt_pb2.Flush()]
            case other:
                raise ProtocolError(f"There is no event {quote(other)} here. {_USAGE}")

    def _update(self, event: Json) -> list[Item]:
        settings = update_settings(self._settings, event)
        before, config = self._config, settings.make_config()
        is_written_so = before is None or _is_written_alike(before, config)
        if not is_written_so and self._has_audio:
            raise ProtocolError("The audio's format cannot change once audio was sent.")
        self._settings = settings
        self._turns.detects = settings.detection is not None
        self._config = config
        is_old = event["type"] == OLD_UPDATE
        updated = self._reply([self._describe_session("updated", is_old)])
        if before is None or not is_written_so:
            return [config, updated]
        return [updated] if config.vad == before.vad else [config.vad, updated]

    def _append(self, audio: bytes) -> list[Item]:
        if not audio:
            return self._open()
        items = self._open()
        self._has_audio = True
        return [*items, audio]

    def _open(self) -> list[Item]:
        """Open the call with OpenAI's defaults, where the client has set nothing."""
        if self._config is not None:
            return []
        self._config = self._settings.make_config()
        return [self._config]

    def _describe_session(self, what: str, is_old: bool) -> Json:
        session_id = f"sess_{self._connection}"
        if is_old:
            session = self._settings.describe_flat(session_id)
            return {"type": f"transcription_session.{what}", "session": session}
        return {"type": f"session.{what}", "session": self._settings.describe(session_id)}

    def _complain(self, text: str, event_id: object) -> Reply:
        error = _make_error("invalid_request_error", "invalid_request", text)
        if isinstance(event_id, str) and event_id.isprintable() and len(event_id) <= MAX_EVENT_ID:
            error["error"]["event_id"] = event_id
        return self._reply([error])

    def _reply(self, events: list[Json]) -> Reply:
        return Reply(tuple(self._encode(event) for event in events))

    def _encode(self, event: Json) -> Message:
        self._events_sent += 1
        return to_text({"event_id": f"event_{self._connection}_{self._events_sent}", **event})


DOOR = Door(
    name="openai-realtime",
    paths=("/v1/realtime",),
    make_codec=OpenAiRealtimeCodec,
    key_places=KeyPlaces(subprotocol_prefix="openai-insecure-api-key."),
    subprotocols=("realtime",),
    # OpenAI's limit is 15 MiB of base64.
    max_message_bytes=16 * MIB,
    first_message_s=60.0,
)


def _make_error(kind: str, code: str, text: str) -> Json:
    error: Json = {"type": kind, "code": code, "message": text, "param": None, "event_id": None}
    return {"type": "error", "error": error}


def _is_written_alike(one: stt_pb2.StreamingConfig, other: stt_pb2.StreamingConfig) -> bool:
    return (one.encoding, one.sample_rate_hertz) == (other.encoding, other.sample_rate_hertz)
