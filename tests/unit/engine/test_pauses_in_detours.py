"""A pause is told once, and behind the words before it, whatever was made up and undone."""

from stt_service.engine.events import (
    Pause,
    Step,
    Token,
    Utterance,
    Word,
)
from stt_service.engine.session_state import Finish, Flush, Settle, Stall
from tests.unit.engine.listening import QUIET, Listener, script
from tests.unit.engine.models import (
    END_OF_PADDING,
    HEL,
    LO,
    PADDING,
    YOU,
    make_info,
)


def test_a_word_that_was_told_in_a_stall_is_followed_by_a_pause() -> None:
    listener = Listener(script(hello=8))
    tail = [PADDING] * 3 + [END_OF_PADDING, HEL, LO]
    listener.hear(10).take([Stall(), Settle()], in_tail=tail)
    assert listener.find(Word) == ["hello"]
    listener.hear(4).hear(8, QUIET)
    listener.pauses[:] = 0.9
    listener.hear(5, QUIET)
    assert [type(event) for event in listener.events if not isinstance(event, Step)] == [
        *[Token, Token, Word, Utterance],
        Pause,
    ]


def test_no_pause_is_told_before_a_word_that_may_go_on() -> None:
    listener = Listener(script(hello=2, you=14))
    listener.hear(16)
    listener.pauses[:] = 0.9
    listener.take([Stall()], in_tail=[PADDING] * 3 + [END_OF_PADDING, YOU])
    assert listener.find(Word) == ["hello"]
    assert not any(isinstance(event, Pause) for event in listener.events)
    listener.take([Settle()])
    assert listener.find(Word) == ["hello", "you"]
    assert [type(event) for event in listener.events[-4:]] == [Token, Word, Pause, Utterance]
    # It was one turn, and the pause behind it one.
    assert listener.find(Utterance) == ["hello you"]
    listener.hear(10)
    assert sum(isinstance(event, Pause) for event in listener.events) == 1


def test_if_the_word_goes_on_there_was_no_pause() -> None:
    listener = Listener(script(hello=2, you=14))
    listener.hear(16)
    listener.pauses[:] = 0.9
    listener.take([Stall()], in_tail=[PADDING] * 3 + [END_OF_PADDING, YOU])
    listener.pauses[:] = 0.0
    listener.hear(20)
    assert not any(isinstance(event, Pause) for event in listener.events)
    listener.pauses[:] = 0.9
    listener.hear(1).take([Finish()])
    assert sum(isinstance(event, Pause) for event in listener.events) == 1
    assert listener.find(Utterance) == ["hello you"]


def test_words_that_are_written_again_are_no_quiet() -> None:
    """A model without heads finds pauses in its text, of which nothing is told meanwhile."""
    info = make_info(delay_s=2.5, heads=0)
    words = {"hello": 2, "you": 12}
    listener = Listener(script(delay_steps=32, **words), info)
    tail = [PADDING] * 18 + [END_OF_PADDING, HEL, LO, *[PADDING] * 8, END_OF_PADDING, YOU]
    listener.hear(14).take([Flush("x")], in_tail=tail)
    assert listener.find(Word) == ["hello", "you"]
    # Until both were written again.
    listener.hear(46 - 14)
    assert not any(isinstance(event, Pause) for event in listener.events)
    listener.hear(27)
    assert sum(isinstance(event, Pause) for event in listener.events) == 1
