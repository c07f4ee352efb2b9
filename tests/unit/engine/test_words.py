import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.events import Token, Word
from stt_service.engine.timeline import Timeline
from stt_service.engine.words import MAX_PIECES, WordAssembler
from tests.unit.engine.models import (
    A9,
    C3,
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    PADDING,
    SPACE,
    YOU,
    make_frame,
    make_info,
)


class Assembly:
    """An assembler, its timeline and everything it said."""

    def __init__(self, delay_s: float = 0.0) -> None:
        info = make_info(delay_s=delay_s)
        self.timeline = Timeline(info)
        self.assembler = WordAssembler(info, self.timeline)
        self.events = []

    def feed(self, *text_ids: int, level: float = 0.1, probability: float = 1.0) -> "Assembly":
        for text_id in text_ids:
            self.timeline.append_audio(make_frame(level).audio)
            self.events += self.assembler.feed(text_id, probability)
        return self

    def flush(self) -> "Assembly":
        self.events += self.assembler.flush()
        return self

    @property
    def tokens(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Token)]

    @property
    def words(self) -> list[Word]:
        return [event for event in self.events if isinstance(event, Word)]


def test_a_word_starts_at_its_boundary_and_ends_at_the_next() -> None:
    assembly = Assembly().feed(PADDING, END_OF_PADDING, HEL, LO, END_OF_PADDING, YOU).flush()
    hello, you = assembly.words
    assert (hello.text, you.text) == ("hello", "you")
    assert hello.start_s == pytest.approx(1 * FRAME_S)
    assert hello.end_s == you.start_s == pytest.approx(4 * FRAME_S)


def test_tokens_carry_their_space_and_the_start_of_their_word() -> None:
    assembly = Assembly().feed(PADDING, END_OF_PADDING, HEL, LO)
    assert assembly.events == [Token(" hel", FRAME_S), Token("lo", FRAME_S)]


def test_times_are_less_the_delay() -> None:
    assembly = Assembly(delay_s=0.4).feed(*[PADDING] * 10, END_OF_PADDING, HEL).flush()
    assert assembly.words[0].start_s == pytest.approx(10 * FRAME_S - 0.4)


def test_a_word_is_sent_once_the_text_has_passed_its_end() -> None:
    assembly = Assembly().feed(END_OF_PADDING, HEL).feed(PADDING, level=0.0001)
    assert not assembly.words
    assembly.feed(PADDING, level=0.0001)
    assert [word.end_s for word in assembly.words] == pytest.approx([2 * FRAME_S])


def test_a_word_in_steady_noise_is_sent_after_a_second() -> None:
    assembly = Assembly().feed(END_OF_PADDING, HEL, *[PADDING] * 12)
    assert not assembly.words
    assembly.feed(PADDING, PADDING)
    assert [word.text for word in assembly.words] == ["hel"]


def test_two_words_that_share_one_boundary_are_split_by_their_spaces() -> None:
    assembly = Assembly().feed(END_OF_PADDING, HEL, LO, YOU).flush()
    assert [word.text for word in assembly.words] == ["hello", "you"]
    assert assembly.words[1].start_s == pytest.approx(3 * FRAME_S)


def test_bytes_are_held_until_they_form_a_character() -> None:
    assembly = Assembly().feed(END_OF_PADDING, SPACE, C3)
    assert assembly.tokens == [" "]
    assembly.feed(A9)
    assert assembly.tokens == [" ", "é"]
    assert assembly.flush().words[0].text == "é"


def test_a_flush_shows_bytes_that_never_became_a_character() -> None:
    assembly = Assembly().feed(END_OF_PADDING, HEL, C3).flush()
    assert assembly.tokens == [" hel", "\ufffd"]


def test_confidence_is_the_geometric_mean() -> None:
    assembly = Assembly().feed(END_OF_PADDING)
    assembly.feed(HEL, probability=0.9).feed(LO, probability=0.4).flush()
    assert assembly.words[0].confidence == pytest.approx(math.sqrt(0.36))


@pytest.mark.parametrize(
    ("text_ids", "mid_word"),
    [
        ([], False),
        ([PADDING], False),
        ([END_OF_PADDING], True),
        ([END_OF_PADDING, HEL], True),
        ([END_OF_PADDING, HEL, PADDING], False),
        ([END_OF_PADDING, PADDING], False),
    ],
)
def test_mid_word_while_pieces_may_follow(text_ids, mid_word) -> None:
    assert Assembly().feed(*text_ids).assembler.mid_word is mid_word


ids = st.sampled_from([PADDING, END_OF_PADDING, HEL, LO, YOU, SPACE, C3, A9])


@given(st.lists(ids, max_size=60), st.sampled_from([0.0, 0.5]), st.sampled_from([0.0, 0.1]))
def test_nothing_is_lost_and_time_runs_forward(text_ids, delay_s, level) -> None:
    assembly = Assembly(delay_s).feed(*text_ids, level=level).flush()
    transcript = "".join(assembly.tokens)
    assert "".join(word.text for word in assembly.words) == "".join(transcript.split())
    starts = [word.start_s for word in assembly.words]
    assert starts == sorted(starts)
    for word, following in zip(assembly.words, assembly.words[1:], strict=False):
        assert word.start_s <= word.end_s <= following.start_s
    assert all(word.end_s <= assembly.timeline.heard_s for word in assembly.words)
    assert all(0 <= word.confidence <= 1 for word in assembly.words)


def test_a_word_without_an_end_is_cut_and_nothing_of_it_is_lost() -> None:
    """A model that writes one piece after the other must not fill the memory."""
    assembly = Assembly().feed(END_OF_PADDING, HEL, *[LO] * (2 * MAX_PIECES)).flush()
    assert [len(word.text) for word in assembly.words[:-1]] == [
        len("hel") + len("lo") * (MAX_PIECES - 1),
        len("lo") * MAX_PIECES,
    ]
    assert "".join(assembly.tokens) == " hel" + "lo" * (2 * MAX_PIECES)
