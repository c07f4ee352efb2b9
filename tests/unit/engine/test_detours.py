"""Silence that was made up amid sound is undone when the sound goes on."""

from collections.abc import Sequence

import numpy as np
import pytest

from stt_service.engine.events import Event, Final, Flushed, Step, Token, Utterance, Word
from stt_service.engine.frames import Frame
from stt_service.engine.options import SessionOptions
from stt_service.engine.session_state import Finish, Flush, Mark, SessionState, Settle, Stall
from tests.unit.engine.models import (
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    PADDING,
    YOU,
    make_frame,
    make_info,
)

LOUD, QUIET = 0.1, 0.0
INFO = make_info(delay_s=0.4)
DELAY_STEPS = 5


class Listener:
    """A session whose model writes what a script says of each frame, and which can come back.

    `said` are text ids by the caller's own frames; in a tail the model writes `in_tail`.
    """

    def __init__(self, said: Sequence[int]) -> None:
        options = SessionOptions(wants_steps=True, wants_utterances=True)
        self.state = SessionState("a", options, INFO)
        self.events: list[Event] = []
        self.ways: list[str] = []
        self._said = said
        self._position = self._kept = 0

    def hear(self, count: int, level: float = LOUD) -> "Listener":
        return self.take([make_frame(level)] * count)

    def take(self, items: Sequence[Frame | Mark], in_tail: Sequence[int] = ()) -> "Listener":
        """Push these and step until there is nothing to step."""
        self.state.push(items)
        tail = iter(in_tail)
        while True:
            self.events += self.state.reach_marks()
            frame = self.state.take_frame()
            if frame is None:
                return self
            if self.state.is_returning:
                self.ways.append("back")
                self._position = self._kept
            if self.state.is_leaving:
                self.ways.append("away")
                self._kept = self._position
            is_tail = frame.audio_samples < len(frame.pcm)
            text_id = next(tail, PADDING) if is_tail else self._said[self._position]
            self._position += 1
            nothing = np.zeros(len(INFO.pause_heads_s), dtype=np.float32)
            self.events += self.state.apply(frame, text_id, 1.0, nothing)

    def find(self, kind: type[Event]) -> list[str]:
        return [e.text for e in self.events if isinstance(e, kind)]  # type: ignore[attr-defined]


def script(**words: int) -> list[int]:
    """Ids by frame: `hello` or `you` written the delay after the frame that it begins in."""
    ids = [PADDING] * 80
    for word, frame in words.items():
        at = frame + DELAY_STEPS
        pieces = (END_OF_PADDING, HEL, LO) if word == "hello" else (END_OF_PADDING, YOU)
        ids[at : at + len(pieces)] = pieces
    return ids


def test_a_word_that_a_stall_cuts_is_told_as_it_is_in_the_end() -> None:
    listener = Listener(script(hello=8, you=14))
    # Cut within the word, the model takes its beginning for another one.
    listener.hear(10).take([Stall()], in_tail=[PADDING] * 3 + [END_OF_PADDING, YOU])
    assert listener.find(Token) == []
    assert listener.find(Utterance) == []
    listener.hear(20).take([Finish()])
    assert listener.ways == ["away", "back"]
    assert listener.find(Token) == [" hel", "lo", " you"]
    assert listener.find(Word) == ["hello", "you"]
    final = listener.events[-1]
    assert isinstance(final, Final)
    assert final.audio_duration_s == pytest.approx(30 * FRAME_S)


def test_what_was_whole_is_told_in_the_stall_and_only_once() -> None:
    listener = Listener(script(hello=4, you=9))
    # The next word bounds the first; the second may go on.
    tail = [END_OF_PADDING, HEL, LO, PADDING, END_OF_PADDING, YOU]
    listener.hear(8).take([Stall()], in_tail=[PADDING, *tail])
    assert listener.find(Word) == ["hello"]
    assert listener.find(Token) == [" hel", "lo"]
    listener.hear(22).take([Finish()])
    assert listener.find(Word) == ["hello", "you"]
    assert listener.find(Token) == [" hel", "lo", " you"]
    # Of the same turn.
    assert listener.find(Utterance) == ["hello you"]


@pytest.mark.parametrize("mark", [Settle(), Flush("x"), Finish()])
def test_if_no_more_comes_the_word_is_told(mark: Mark) -> None:
    listener = Listener(script(hello=8))
    listener.hear(10).take([Stall()], in_tail=[PADDING] * 3 + [END_OF_PADDING, YOU])
    assert listener.find(Token) == []
    listener.take([mark])
    assert listener.find(Token) == [" you"]
    assert listener.find(Utterance) == ["you"]
    assert sum(isinstance(event, Flushed) for event in listener.events) == (mark == Flush("x"))


def test_what_was_told_stays_told_and_is_not_told_again() -> None:
    listener = Listener(script(hello=8, you=14))
    tail = [PADDING] * 3 + [END_OF_PADDING, YOU]
    listener.hear(10).take([Stall(), Settle()], in_tail=tail).hear(20).take([Finish()])
    assert listener.find(Word) == ["you", "you"]
    final = listener.events[-1]
    assert isinstance(final, Final)
    assert final.transcript == "".join(listener.find(Token)) == " you you"


def test_a_flush_tells_all_and_is_undone_too() -> None:
    listener = Listener(script(hello=8, you=14))
    tail = [PADDING] * 3 + [END_OF_PADDING, HEL, LO]
    listener.hear(10).take([Flush("x")], in_tail=tail)
    assert listener.find(Token) == [" hel", "lo"]
    listener.hear(20).take([Finish()])
    assert listener.ways == ["away", "back"]
    assert listener.find(Word) == ["hello", "you"]


def test_in_a_gap_between_words_silence_is_no_detour() -> None:
    listener = Listener(script(hello=2))
    listener.hear(5).hear(5, QUIET).take([Stall()]).hear(5)
    assert listener.ways == []
    assert listener.find(Utterance) == ["hello"]


def test_stalls_one_after_the_other() -> None:
    listener = Listener(script(hello=8, you=14))
    for frames in (9, 1, 1, 1):
        tail = [PADDING] * 3 + [END_OF_PADDING, HEL, LO, END_OF_PADDING]
        listener.hear(frames).take([Stall()], in_tail=tail)
    listener.hear(20).take([Finish()])
    assert listener.ways == ["away", "back"] * 4
    assert listener.find(Word) == ["hello", "you"]
    assert listener.find(Token) == [" hel", "lo", " you"]


def make_rest(samples: int, level: float = LOUD) -> Frame:
    return make_frame(level, samples)


def test_the_rest_of_a_frame_is_heard_in_the_tail_and_again_in_its_frame() -> None:
    listener = Listener(script(hello=8))
    listener.hear(10).take([Stall(make_rest(700))])
    assert listener.state.processed_s == pytest.approx(10 * FRAME_S + 700 / 24_000)
    listener.hear(5)
    assert listener.ways == ["away", "back"]
    assert listener.state.processed_s == pytest.approx(15 * FRAME_S)
    # One for each of the caller's frames.
    assert [e.index for e in listener.events if isinstance(e, Step)] == list(range(15))


def test_a_quiet_rest_is_counted_once() -> None:
    listener = Listener(script())
    listener.hear(2).hear(8, QUIET).take([Stall(make_rest(700, QUIET))]).hear(1, QUIET)
    assert listener.ways == ["away"]
    assert listener.state.processed_s == pytest.approx(11 * FRAME_S)


def test_a_rest_that_grows_is_heard_anew_and_one_that_does_not_is_not() -> None:
    listener = Listener(script())
    listener.take([Stall(make_rest(300)), Flush("x", make_rest(300))])
    assert listener.ways == ["away"]
    listener.take([Stall(make_rest(900))])
    assert listener.ways == ["away", "back", "away"]
    assert listener.state.processed_s == pytest.approx(900 / 24_000)
    listener.take([make_rest(900), Finish()])
    final = listener.events[-1]
    assert isinstance(final, Final)
    assert final.audio_duration_s == pytest.approx(900 / 24_000)


def test_a_rest_after_which_the_session_ends_is_not_heard_again() -> None:
    listener = Listener(script(hello=8))
    listener.hear(10).take(
        [Flush("x", make_rest(700))], in_tail=[PADDING] * 4 + [END_OF_PADDING, YOU]
    )
    listener.take([make_rest(700), Finish()])
    assert listener.ways == ["away"]
    assert listener.find(Word) == ["you"]
    assert [e.index for e in listener.events if isinstance(e, Step)] == list(range(11))
    assert listener.state.items_done == 10 + 1 + 2


def test_items_are_frames_and_marks() -> None:
    listener = Listener(script())
    listener.hear(3).take([Stall(make_rest(300)), Settle()]).hear(2).take([Flush("x")])
    assert listener.state.items_done == 3 + 2 + 2 + 1
