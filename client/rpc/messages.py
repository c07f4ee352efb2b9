"""The service's responses as typed events, and its durations as seconds."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from client.rpc.events import (
    Final,
    Flushed,
    Pause,
    Ping,
    Ready,
    ServerEvent,
    Timing,
    Token,
    Word,
)
from stt.v1 import stt_pb2


def decode_event(response: stt_pb2.StreamingTranscribeResponse) -> ServerEvent | None:
    """The typed event of a response; None for one that this client does not know."""
    timing = Timing(
        processed_s=to_seconds(response.processed_offset),
        lag_s=to_seconds(response.lag),
        step_time=response.step_time.seconds + response.step_time.nanos * 1e-9
        if response.HasField("step_time")
        else None,
    )
    match response.WhichOneof("event"):
        case "ready":
            ready = response.ready
            return Ready(
                ready.session_id,
                to_seconds(ready.delay),
                ready.frame_samples,
                ready.sample_rate_hertz,
                timing,
            )
        case "token":
            return Token(response.token.text, to_seconds(response.token.start_offset), timing)
        case "word":
            return _word(response.word, timing)
        case "vad_end":
            return Pause(to_seconds(response.vad_end.offset), timing)
        case "ping":
            return Ping(timing)
        case "flushed":
            return Flushed(response.flushed.flush_id, timing)
        case "final":
            words = tuple(_word(word, timing) for word in response.final.words)
            duration_s = to_seconds(response.final.audio_duration)
            return Final(response.final.transcript, words, duration_s, timing)
        case "step" | "utterance" | None:
            return None


def _word(word: stt_pb2.Word, timing: Timing) -> Word:
    return Word(
        word.text,
        to_seconds(word.start_offset),
        to_seconds(word.end_offset),
        word.confidence,
        timing,
    )


def to_seconds(duration: Duration) -> float:
    """A position or a length."""
    return duration.ToNanoseconds() / 1e9


def to_duration(seconds: float) -> Duration:
    """A position or a length, to the nanosecond."""
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration
