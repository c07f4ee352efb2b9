"""What Final can carry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.events import Final, Token, Word
from stt_service.engine.session import Update
from stt_service.engine.transcript import MAX_FINAL_BYTES, Transcript
from stt_service.translation import encode_response

GRPC_DEFAULT_LIMIT = 4 * 1024 * 1024


def fill(text: str, time_s: float) -> Transcript:
    transcript = Transcript()
    for _ in range(10**6):
        word = Word(text, time_s, time_s + 0.123456, 0.987654)
        transcript.add([Token(f" {text}", time_s), word])
        if transcript.is_cut:
            break
    return transcript


@pytest.mark.parametrize("text", ["a", "zero", "Überraschung", "語" * 80])
@pytest.mark.parametrize("time_s", [0.0, 123_456.789_012])
def test_the_longest_final_fits_into_what_grpc_clients_take(text: str, time_s: float) -> None:
    said = fill(text, time_s)
    assert said.is_cut
    final = Final(said.text, said.words, time_s, said.is_cut)
    response = encode_response(Update(final, time_s, 0.0, 1e9), set())
    assert response is not None
    # At the very start offsets are short.
    least = 0.9 if time_s else 0.5
    assert least * MAX_FINAL_BYTES < response.ByteSize() < GRPC_DEFAULT_LIMIT
    assert len(said.words) * len(f" {text}") == len(said.text)


texts = st.lists(st.tuples(st.text(max_size=8), st.booleans()), max_size=30)


@given(texts, st.integers(0, 1000))
def test_what_is_kept_is_the_beginning_and_it_says_whether_that_is_all(said, max_bytes) -> None:
    transcript = Transcript(max_bytes)
    for text, is_word in said:
        transcript.add([Token(text, 0.0)])
        if is_word and text:
            transcript.add([Word(text, 0.0, 0.0, 1.0)])
    transcript.close()
    everything = "".join(text for text, _ in said)
    words = [text for text, is_word in said if is_word and text]
    assert everything.startswith(transcript.text)
    assert [word.text for word in transcript.words] == words[: len(transcript.words)]
    assert transcript.is_cut == (transcript.text != everything)
    if not transcript.is_cut:
        assert len(transcript.words) == len(words)
