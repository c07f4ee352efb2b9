"""Silence that was made up amid sound is undone when the sound goes on."""

from collections import deque
from typing import Any

import pytest

from stt_service.engine.events import (
    Event,
    Final,
    Flushed,
    Step,
    Token,
    Utterance,
    Word,
)
from stt_service.engine.frames import Frame
from stt_service.engine.model import ModelInfo
from stt_service.engine.session_state import Finish, Flush, Mark, Settle, Stall
from tests.unit.engine.listening import LOUD, QUIET, Listener, script
from tests.unit.engine.models import (
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    PADDING,
    YOU,
    make_frame,
)


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


def test_a_quiet_rest_before_a_detour_is_counted_once() -> None:
    listener = Listener(script())
    listener.hear(2, QUIET).take([Stall(make_rest(300, QUIET))]).take([Stall(make_rest(900))])
    assert listener.ways == ["away", "away"]
    listener.hear(1).take([Finish()])
    assert listener.ways == ["away", "away", "back"]
    final = listener.events[-1]
    assert isinstance(final, Final)
    assert final.audio_duration_s == pytest.approx(3 * FRAME_S)


def test_what_is_written_while_a_loud_rest_is_heard_is_not_told_twice() -> None:
    """That the audio breaks off in sound is known only with that rest."""
    listener = Listener(script(you=4))
    listener.hear(6).hear(4, QUIET).take([Stall(make_rest(900))], in_tail=[YOU])
    assert listener.ways == ["away"]
    listener.hear(10).take([Finish()])
    assert listener.find(Token) == [" you"]


def test_a_word_that_was_told_and_does_not_come_again_costs_no_later_one() -> None:
    listener = Listener(script(hello=4, you=14))
    two = [END_OF_PADDING, HEL, LO, END_OF_PADDING, YOU]
    listener.hear(10).take([Flush("x")], in_tail=two)
    listener.hear(6).take([Stall()], in_tail=[PADDING] * 3 + [END_OF_PADDING, YOU])
    listener.hear(20).take([Finish()])
    assert listener.ways == ["away", "back"] * 2
    assert listener.find(Word) == ["hello", "you", "you"]


def test_a_stall_that_is_over_when_it_is_reached_is_none() -> None:
    """A model that is behind has no steps to spare."""
    listener = Listener(script(hello=8))
    listener.take([*[make_frame()] * 10, Stall(), Settle(), *[make_frame()] * 10, Finish()])
    assert listener.ways == []
    assert listener.find(Word) == ["hello"]
    assert listener.state.items_done == 10 + 2 + 10 + 1


def test_two_ways_share_nothing_that_changes() -> None:
    """Also after half an hour without a pause it costs little to go another way."""
    listener = Listener(script(hello=2, you=14))
    listener.hear(16).take([Stall()])
    internals: Any = listener.state
    detour = internals._hearing._detour
    before = find_mutable(detour.before)
    away = find_mutable(internals._hearing._course)
    assert len(before) > 10
    assert before.keys().isdisjoint(away), [before[key] for key in before.keys() & away.keys()]


def find_mutable(root: object) -> dict[int, object]:
    """Everything that an object leads to and that can change, by its identity."""
    found: dict[int, object] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        is_fixed = isinstance(thing, ModelInfo | Event | str | bytes | float | int | type(None))
        if is_fixed or id(thing) in found:
            continue
        if not isinstance(thing, tuple):
            found[id(thing)] = thing
        if isinstance(thing, list | tuple | deque):
            waiting += thing
        waiting += vars(thing).values() if hasattr(thing, "__dict__") else []
    return found
