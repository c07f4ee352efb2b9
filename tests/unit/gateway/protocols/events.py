"""The service's events, made short."""

from __future__ import annotations

from google.protobuf.duration_pb2 import Duration

from stt.v1 import stt_pb2

FRAME_S = 0.08
NO_PAUSE = (0.1, 0.1, 0.1, 0.1)

Response = stt_pb2.StreamingTranscribeResponse


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(value * 1e6))
    return duration


def ready(delay_s: float = 0.5, session_id: str = "s-1") -> Response:
    return Response(
        ready=stt_pb2.Ready(
            session_id=session_id,
            delay=seconds(delay_s),
            frame_samples=1920,
            sample_rate_hertz=24_000,
            audio_encoding=stt_pb2.ENCODING_PCM_S16LE,
            audio_sample_rate_hertz=24_000,
        )
    )


def step(
    index: int, probabilities: tuple[float, ...] = NO_PAUSE, *, mid_word: bool = False
) -> Response:
    """The step that ends at frame `index`."""
    return Response(
        step=stt_pb2.Step(index=index, pause_probabilities=probabilities, mid_word=mid_word),
        processed_offset=seconds((index + 1) * FRAME_S),
    )


def token(text: str, start_s: float = 0.0, processed_s: float = 0.0) -> Response:
    return Response(
        token=stt_pb2.Token(text=text, start_offset=seconds(start_s)),
        processed_offset=seconds(processed_s),
    )


def make_word(text: str, start_s: float = 0.0, end_s: float = 0.0) -> stt_pb2.Word:
    return stt_pb2.Word(
        text=text, start_offset=seconds(start_s), end_offset=seconds(end_s), confidence=0.9
    )


def word(text: str, start_s: float = 0.0, end_s: float = 0.0, processed_s: float = 0.0) -> Response:
    return Response(word=make_word(text, start_s, end_s), processed_offset=seconds(processed_s))


def vad_end(offset_s: float = 0.0) -> Response:
    return Response(
        vad_end=stt_pb2.VadEnd(offset=seconds(offset_s)), processed_offset=seconds(offset_s)
    )


def utterance(*words: stt_pb2.Word, processed_s: float = 0.0) -> Response:
    return Response(
        utterance=stt_pb2.Utterance(
            text=" ".join(one.text for one in words),
            start_offset=words[0].start_offset,
            end_offset=words[-1].end_offset,
            words=words,
        ),
        processed_offset=seconds(processed_s),
    )


def flushed(flush_id: str = "", processed_s: float = 0.0) -> Response:
    return Response(
        flushed=stt_pb2.Flushed(flush_id=flush_id), processed_offset=seconds(processed_s)
    )


def ping(processed_s: float = 0.0, lag_s: float = 0.0) -> Response:
    return Response(ping=stt_pb2.Ping(), processed_offset=seconds(processed_s), lag=seconds(lag_s))


def final(processed_s: float = 0.0) -> Response:
    return Response(final=stt_pb2.Final(), processed_offset=seconds(processed_s))
