"""What a replay tells a client, as the service would have said it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from client.rpc.events import Event, Final, Flushed, Pause, Ping, Ready, Token, Word
from client.rpc.messages import to_duration
from stt.v1 import stt_pb2

Response = stt_pb2.StreamingTranscribeResponse


def encode_events(events: Iterable[Event]) -> Iterable[Response]:
    """Typed events as the service's responses; the inverse of `decode_event`."""
    for event in events:
        response = Response(lag=to_duration(event.timing.lag_s))
        response.processed_offset.CopyFrom(to_duration(event.timing.processed_s))
        if event.timing.step_time is not None:
            response.step_time.FromNanoseconds(round(event.timing.step_time * 1e9))
        match event:
            case Token():
                response.token.text = event.text
                response.token.start_offset.CopyFrom(to_duration(event.start_s))
            case Word():
                response.word.CopyFrom(encode_word(event))
            case Pause():
                response.vad_end.offset.CopyFrom(to_duration(event.offset_s))
            case Ping():
                response.ping.SetInParent()
            case Flushed():
                response.flushed.flush_id = event.flush_id
            case Final():
                response.final.transcript = event.transcript
                response.final.words.extend(map(encode_word, event.words))
                response.final.audio_duration.CopyFrom(to_duration(event.audio_duration_s))
                response.final.is_cut = event.is_cut
            case Ready():
                response.ready.session_id = event.session_id
                response.ready.delay.CopyFrom(to_duration(event.delay_s))
                response.ready.frame_samples = event.frame_samples
                response.ready.sample_rate_hertz = event.sample_rate_hertz
            case _:
                # The client need not know that a call was replayed.
                continue
        yield response


def encode_utterance(words: Sequence[Word]) -> Response:
    """The turn of these words, at least one."""
    response = Response(lag=to_duration(words[-1].timing.lag_s))
    response.processed_offset.CopyFrom(to_duration(words[-1].timing.processed_s))
    response.utterance.text = " ".join(word.text for word in words)
    response.utterance.start_offset.CopyFrom(to_duration(words[0].start_s))
    response.utterance.end_offset.CopyFrom(to_duration(words[-1].end_s))
    response.utterance.words.extend(map(encode_word, words))
    return response


def encode_word(word: Word) -> stt_pb2.Word:
    """A word as the service writes it."""
    return stt_pb2.Word(
        text=word.text,
        start_offset=to_duration(word.start_s),
        end_offset=to_duration(word.end_s),
        confidence=word.confidence,
    )
