"""One client's session over several calls of the service: a call that breaks is replayed.

Documented clients cannot send their audio again, so the gateway keeps its last seconds and does
what our own client does, by the rules of docs/replay.md and with the same code
(`client.rpc.replay`, `client.rpc.tape`). While no call has broken, the service's events pass
through as they came.

The session's first item is its config, and opens the first call. Another one before any audio
replaces that call: `next_request` comes to an end, and `is_reopened` says why.
"""

from __future__ import annotations

from client.rpc.errors import Idle, ServerUnavailable, SttError
from client.rpc.events import Final, Flushed, Ping, Timing, Word
from client.rpc.messages import decode_event, to_seconds
from client.rpc.reasons import Reason
from client.rpc.replay import Transcript
from client.rpc.tape import BORDER_TOLERANCE_FRAMES, FRAMES_PER_SECOND, Tape
from gateway.inbox import CHUNK_BYTES, Inbox
from gateway.protocols.codec import End
from gateway.responses import Response, encode_events, encode_utterance
from gateway.vad_changes import VadChanges
from stt.v1 import stt_pb2

Request = stt_pb2.StreamingTranscribeRequest

CONTEXT_S = 3.0
"""Audio that a model hears again before the first word that matters (docs/replay.md)."""
MAX_ATTEMPTS = 3
"""Replays in a row in which the service hears nothing new; then the session fails."""
MIN_TAPE_BYTES = 1024 * 1024
"""What may be kept however much the other sessions hold: 10.9 s of float32 audio at 24 kHz."""
MAX_FINAL_BYTES = 3_900_000
"""What the service's own `final` may hold (docs/grpc.md), so that a replayed one is cut there."""

_NEEDED_EVENTS = (stt_pb2.OPTIONAL_EVENT_WORD, stt_pb2.OPTIONAL_EVENT_PING)
"""Words say what need not be sent again, and pings how much was heard while nothing is said."""
_MODEL_RATE_HERTZ = 24_000
_SAMPLE_BYTES = {
    stt_pb2.ENCODING_PCM_F32LE: 4,
    stt_pb2.ENCODING_PCM_S16LE: 2,
    stt_pb2.ENCODING_MULAW: 1,
    stt_pb2.ENCODING_ALAW: 1,
}
"""Without Ogg Opus, which cannot be cut at any place."""


class Replay:
    """What was sent and is not settled, and what the client was told."""

    def __init__(self, inbox: Inbox, limit_bytes: int) -> None:
        self._config = stt_pb2.StreamingConfig()
        self._rate_hertz = _MODEL_RATE_HERTZ
        self._sample_bytes = 0
        self._inbox = inbox
        self._limit_bytes = limit_bytes
        self._tape = Tape(b"")
        self._vad_changes = VadChanges()
        self._transcript = Transcript(MAX_FINAL_BYTES)
        self._turn: list[Word] = []
        self._next_step = 0
        self._base = 0
        self._sent = 0
        self._next_mark = 0
        self._interim: Response | None = None
        self._has_broken = False
        self._attempts = 0
        self._heard_s = 0.0
        self.is_reopened = False
        """Whether the client has replaced its config, so that it needs another call."""

    async def take_config(self) -> None:
        """Wait for the session's config."""
        while not self.is_reopened:
            await self._record()

    def make_config(self) -> stt_pb2.StreamingConfig:
        """The config of the next call."""
        self._settle_vad(self._next_base())
        return self._config

    def begin(self, reason: str | None) -> None:
        """The call was admitted; `reason` is why the one before it broke, if one did.

        Until then the session may still end with the `final` of that one.
        """
        self.is_reopened = False
        self._base = self._sent = self._next_base()
        self._vad_changes.send_again()
        self._next_mark = 0
        self._interim = None
        self._has_broken = self._has_broken or reason is not None
        self._transcript.begin(self._seconds(self._base), reason)

    async def next_request(self) -> Request | None:
        """The next request of the present call, when there is one; None at the end."""
        while not self.is_reopened:
            mark = next(self._tape.marks_from(self._next_mark), None)
            until = mark[1].position if mark else self._tape.end
            change = self._vad_changes.next
            if change is not None and change.position <= until:
                until = change.position
            else:
                change = None
            audio = self._tape.read(self._sent, min(until - self._sent, CHUNK_BYTES))
            if audio:
                self._sent += len(audio)
                if not self._sample_bytes:
                    self._forget_before(self._sent)
                return Request(audio=audio)
            if change is not None:
                self._vad_changes.note_sent()
                if not self._sample_bytes:
                    self._settle_vad(self._sent)
                return Request(vad=change.vad)
            if mark is not None:
                self._next_mark = mark[0] + 1
                return Request(flush=stt_pb2.Flush(flush_id=mark[1].flush_id))
            if self._tape.finished:
                return None
            await self._record()
        return None

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
            case stt_pb2.StreamingConfig() as config:
                self._reopen(config)
            case stt_pb2.VadSettings() as vad:
                self._vad_changes.add(self._tape.end, vad)
            case stt_pb2.Flush() as flush:
                self._tape.mark_flush(flush.flush_id)
            case End():
                self._tape.finished = True

    def _reopen(self, config: stt_pb2.StreamingConfig) -> None:
        """Settings for a call that is to be opened; no audio was recorded yet."""
        self._config = stt_pb2.StreamingConfig()
        self._config.CopyFrom(config)
        missing = [event for event in _NEEDED_EVENTS if event not in config.events]
        self._config.events.extend(missing)
        self._rate_hertz = config.sample_rate_hertz or _MODEL_RATE_HERTZ
        self._sample_bytes = _SAMPLE_BYTES.get(config.encoding or stt_pb2.ENCODING_PCM_F32LE, 0)
        self._vad_changes.clear()
        self.is_reopened = True

    def _tell(self, response: Response) -> list[Response]:
        match response.WhichOneof("event"):
            case "step":
                return self._tell_step(response)
            case "utterance":
                return self._tell_utterance(response)
            case _:
                event = decode_event(response)
        if event is None:
            # Of a newer service; its times are not known, so a replay cannot shift them.
            return [] if self._has_broken else [response]
        told = self._transcript.accept(event)
        if stt_pb2.OPTIONAL_EVENT_UTTERANCE in self._config.events:
            self._turn += (word for word in told if isinstance(word, Word))
        # A replay may have asked for a flush twice.
        if isinstance(event, Flushed) and not self._tape.confirm_flush(event.flush_id):
            told = []
        self._settle()
        if not self._has_broken:
            return [response]
        is_last = isinstance(event, Final) and self._turn
        return [*([encode_utterance(self._turn)] if is_last else []), *encode_events(told)]

    def _tell_step(self, response: Response) -> list[Response]:
        """Steps count the frames of the client's audio, each of them once."""
        self._note_heard(response)
        base_steps = round(self._seconds(self._base) * FRAMES_PER_SECOND)
        index = base_steps + response.step.index
        if index < self._next_step:
            return []
        self._next_step = index + 1
        if self._base:
            response.step.index = index
            response.processed_offset.FromNanoseconds(
                response.processed_offset.ToNanoseconds() + round(self._seconds(self._base) * 1e9)
            )
        return [response]

    def _tell_utterance(self, response: Response) -> list[Response]:
        """A turn of the words that the client was told, where a replay may have heard others."""
        self._note_heard(response)
        end_s = self._seconds(self._base) + to_seconds(response.utterance.end_offset)
        turn = [word for word in self._turn if word.start_s < end_s]
        self._turn = self._turn[len(turn) :]
        if not self._has_broken:
            return [response]
        return [encode_utterance(turn)] if turn else []

    def _note_heard(self, response: Response) -> None:
        """What was heard need not be sent again, be it silence. A ping says just that."""
        timing = Timing(processed_s=to_seconds(response.processed_offset))
        self._transcript.accept(Ping(timing))
        self._settle()

    def _settle(self) -> None:
        """Forget the audio that no replay will need."""
        if self._sample_bytes:
            position = self._settled_position()
            self._settle_vad(position)
            self._forget_before(position)

    def _settle_vad(self, position: int) -> None:
        vad = self._vad_changes.settle(position)
        if vad is not None:
            self._config.vad.CopyFrom(vad)

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

    def _next_base(self) -> int:
        # What a full tape had to forget cannot be sent again.
        return max(self._settled_position(), self._tape.start)

    def _seconds(self, position: int) -> float:
        return position / (self._sample_bytes * self._rate_hertz) if self._sample_bytes else 0.0

    def _has_unheard_audio(self) -> bool:
        if self._interim is None:
            return self._inbox.held_bytes > 0
        heard_s = self._seconds(self._base) + to_seconds(self._interim.final.audio_duration)
        frame_s = 1.0 / FRAMES_PER_SECOND
        return self._inbox.held_bytes > 0 or heard_s + frame_s <= self._seconds(self._tape.end)
