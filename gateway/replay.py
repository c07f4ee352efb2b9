"""One client's session over several calls of the service: a call that breaks is replayed.

Documented clients cannot send their audio again, so the gateway keeps its last seconds and does
what our own client does, by the rules of docs/replay.md and with the same code
(`client.rpc.replay`, `client.rpc.tape`). While no call has broken, the service's events pass
through as they came.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.duration_pb2 import Duration

from client.rpc.errors import Idle, ServerUnavailable, SttError
from client.rpc.events import Event, Final, Flushed, Pause, Ping, Ready, Token, Word
from client.rpc.messages import decode_event
from client.rpc.reasons import Reason
from client.rpc.replay import Transcript
from client.rpc.tape import BORDER_TOLERANCE_FRAMES, FRAMES_PER_SECOND, Tape
from gateway.inbox import CHUNK_BYTES, Inbox
from gateway.protocol import End
from stt.v1 import stt_pb2

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse

CONTEXT_S = 3.0
"""Audio that a model hears again before the first word that matters (docs/replay.md)."""
MAX_ATTEMPTS = 3
"""Replays in a row in which the service hears nothing new; then the session fails."""
MIN_TAPE_BYTES = 1024 * 1024
"""What may be kept however much the other sessions hold: 10.9 s of float32 audio at 24 kHz."""

_MODEL_RATE_HERTZ = 24_000
_SAMPLE_BYTES = {
    stt_pb2.ENCODING_PCM_F32LE: 4,
    stt_pb2.ENCODING_PCM_S16LE: 2,
    stt_pb2.ENCODING_MULAW: 1,
}
"""Without Ogg Opus, which cannot be cut at any place."""


class Replay:
    """What was sent and is not settled, and what the client was told."""

    def __init__(self, config: stt_pb2.StreamingConfig, inbox: Inbox, limit_bytes: int) -> None:
        self._rate_hertz = config.sample_rate_hertz or _MODEL_RATE_HERTZ
        self._sample_bytes = _SAMPLE_BYTES.get(config.encoding, 0)
        self._inbox = inbox
        self._limit_bytes = limit_bytes
        self._tape = Tape(b"")
        self._transcript = Transcript()
        self._base = 0
        self._sent = 0
        self._next_mark = 0
        self._interim: Response | None = None
        self._has_broken = False
        self._attempts = 0
        self._heard_s = 0.0

    def begin(self, reason: str | None) -> None:
        """A call begins; `reason` is why the one before it broke, if one did."""
        # What a full tape had to forget cannot be sent again.
        self._base = self._sent = max(self._settled_position(), self._tape.start)
        self._next_mark = 0
        self._interim = None
        self._has_broken = self._has_broken or reason is not None
        self._transcript.begin(self._seconds(self._base), reason)

    async def next_request(self) -> Request | None:
        """The next request of the present call, when there is one; None at the end."""
        while True:
            mark = next(self._tape.marks_from(self._next_mark), None)
            until = mark[1].position if mark else self._tape.end
            audio = self._tape.read(self._sent, min(until - self._sent, CHUNK_BYTES))
            if audio:
                self._sent += len(audio)
                if not self._sample_bytes:
                    self._forget_before(self._sent)
                return Request(audio=audio)
            if mark is not None:
                self._next_mark = mark[0] + 1
                return Request(flush=stt_pb2.Flush(flush_id=mark[1].flush_id))
            if self._tape.finished:
                return None
            await self._record()

    def accept(self, response: Response) -> list[Response]:
        """What the client is told of a response of the present call."""
        if response.HasField("final"):
            # Whether it is the last word, the call's status says, which comes behind it.
            self._interim = response
            return []
        return self._tell(response)

    def finish(self) -> list[Response]:
        """The session ends here: what the client is told of the `final` that came, if one did."""
        interim, self._interim = self._interim, None
        return [] if interim is None else self._tell(interim)

    def is_worth_another_call(self, error: SttError) -> bool:
        """Whether to replay after this error, which ended a call that was admitted."""
        if self._transcript.processed_s > self._heard_s:
            self._heard_s = self._transcript.processed_s
            self._attempts = 0
        self._attempts += 1
        may_pass = isinstance(error, ServerUnavailable) or error.reason == Reason.ENGINE_DIED
        if isinstance(error, Idle):
            may_pass = self._has_unheard_audio()
        return may_pass and bool(self._sample_bytes) and self._attempts <= MAX_ATTEMPTS

    async def _record(self) -> None:
        match await self._inbox.take():
            case bytes() as audio:
                self._tape.record(audio)
                limit = self._limit_bytes if self._inbox.has_shared_room else MIN_TAPE_BYTES
                self._forget_before(self._tape.end - limit)
            case End():
                self._tape.finished = True
            case flush:
                self._tape.mark_flush(flush.flush_id)

    def _tell(self, response: Response) -> list[Response]:
        event = decode_event(response)
        if event is None:
            # Of a newer service; its times are not known, so a replay cannot shift them.
            return [] if self._has_broken else [response]
        told = self._transcript.accept(event)
        # A replay may have asked for a flush twice.
        if isinstance(event, Flushed) and not self._tape.confirm_flush(event.flush_id):
            told = []
        self._settle()
        return [*encode_events(told)] if self._has_broken else [response]

    def _settle(self) -> None:
        """Forget the audio that no replay will need."""
        if self._sample_bytes:
            self._forget_before(self._settled_position())

    def _forget_before(self, position: int) -> None:
        # Just after a replay began, what is settled may lie ahead of what is sent.
        self._tape.forget_before(min(position, self._sent))
        self._inbox.note_kept(self._tape.end - self._tape.start)

    def _settled_position(self) -> int:
        """Where a replay would start now, in bytes: at a frame border."""
        restart_s = max(0.0, self._transcript.find_restart_s(CONTEXT_S))
        frames = int(restart_s * FRAMES_PER_SECOND + BORDER_TOLERANCE_FRAMES)
        samples = int(frames * self._rate_hertz / FRAMES_PER_SECOND)
        return samples * self._sample_bytes

    def _seconds(self, position: int) -> float:
        return position / (self._sample_bytes * self._rate_hertz) if self._sample_bytes else 0.0

    def _has_unheard_audio(self) -> bool:
        if self._interim is None:
            return self._inbox.held_bytes > 0
        heard_s = self._seconds(self._base) + _to_seconds(self._interim.final.audio_duration)
        frame_s = 1.0 / FRAMES_PER_SECOND
        return self._inbox.held_bytes > 0 or heard_s + frame_s <= self._seconds(self._tape.end)


def encode_events(events: Iterable[Event]) -> Iterable[Response]:
    """Typed events as the service's responses; the inverse of `decode_event`."""
    for event in events:
        response = Response(lag=_duration(event.timing.lag_s))
        response.processed_offset.CopyFrom(_duration(event.timing.processed_s))
        if event.timing.step_time is not None:
            response.step_time.FromNanoseconds(round(event.timing.step_time * 1e9))
        match event:
            case Token():
                response.token.text = event.text
                response.token.start_offset.CopyFrom(_duration(event.start_s))
            case Word():
                response.word.CopyFrom(_word(event))
            case Pause():
                response.vad_end.offset.CopyFrom(_duration(event.offset_s))
            case Ping():
                response.ping.SetInParent()
            case Flushed():
                response.flushed.flush_id = event.flush_id
            case Final():
                response.final.transcript = event.transcript
                response.final.words.extend(map(_word, event.words))
                response.final.audio_duration.CopyFrom(_duration(event.audio_duration_s))
            case Ready():
                response.ready.session_id = event.session_id
                response.ready.delay.CopyFrom(_duration(event.delay_s))
                response.ready.frame_samples = event.frame_samples
                response.ready.sample_rate_hertz = event.sample_rate_hertz
            case _:
                # The client need not know that a call was replayed.
                continue
        yield response


def _word(word: Word) -> stt_pb2.Word:
    return stt_pb2.Word(
        text=word.text,
        start_offset=_duration(word.start_s),
        end_offset=_duration(word.end_s),
        confidence=word.confidence,
    )


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _to_seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
