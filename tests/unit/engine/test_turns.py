"""Steps, pauses and utterances of one session, driven step by step."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.events import Event, Final, Flushed, Pause, Step, Token, Utterance, Word
from stt_service.engine.model import ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import IGNORED_STEPS, VadOptions
from stt_service.engine.session_state import (
    ChangeVad,
    Finish,
    Flush,
    Mark,
    SessionState,
    Settle,
    Stall,
)
from stt_service.engine.turns import MAX_TURN_WORDS
from tests.unit.engine.models import (
    A9,
    C3,
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    PADDING,
    YOU,
    make_frame,
    make_info,
)

HELLO = (END_OF_PADDING, HEL, LO)
YOU_TOO = (END_OF_PADDING, YOU)


class Speaker:
    """One session, with what the model says to each of its frames."""

    def __init__(self, info: ModelInfo | None = None, vad: VadOptions | None = None) -> None:
        self.info = info or make_info()
        options = SessionOptions(vad=vad or VadOptions(), wants_steps=True, wants_utterances=True)
        self.state = SessionState("a", options, self.info)
        self.events: list[Event] = []

    def hear(self, *text_ids: int, pause: float = 0.0, level: float = 0.0) -> None:
        """Push one frame for each id, and step it."""
        for text_id in text_ids:
            self.state.push([make_frame(level)])
            self._step(text_id, pause)

    def mark(self, mark: Mark, text_ids: Sequence[int] = ()) -> None:
        """Push a mark and step its tail: these ids, then padding."""
        self.state.push([mark])
        ids = iter(text_ids)
        while self._step(next(ids, PADDING), pause=0.0):
            pass

    def _step(self, text_id: int, pause: float) -> bool:
        self.events += self.state.reach_marks()
        frame = self.state.take_frame()
        if frame is None:
            return False
        pauses = np.full(len(self.info.pause_heads_s), pause, dtype=np.float32)
        self.events += self.state.apply(frame, text_id, 1.0, pauses)
        return True

    @property
    def turns(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Utterance)]

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


def test_a_step_for_each_frame_of_the_callers_own_audio() -> None:
    """None for the prefix, and none for a tail."""
    speaker = Speaker(make_info(silence_prefix_s=1.0))
    speaker.hear(*[PADDING] * 20, pause=0.25)
    speaker.mark(Flush("x"))
    speaker.hear(PADDING)
    speaker.mark(Finish())
    # The first 13 frames wait until the prefix is through.
    steps = [event for event in speaker.events if isinstance(event, Step)]
    assert [step.index for step in steps] == list(range(21))
    assert steps[0].pause_probabilities == (0.25,) * 4


def test_a_turn_without_a_pause_is_closed_when_it_is_long() -> None:
    speaker = Speaker()
    for _ in range(MAX_TURN_WORDS + 1):
        speaker.hear(*YOU_TOO)
    assert [len(turn.split()) for turn in speaker.turns] == [MAX_TURN_WORDS]
    speaker.mark(Finish())
    assert [len(turn.split()) for turn in speaker.turns] == [MAX_TURN_WORDS, 1]


def test_nobody_is_told_of_steps_and_utterances_who_did_not_ask() -> None:
    speaker = Speaker()
    speaker.state = SessionState("a", SessionOptions(), speaker.info)
    speaker.hear(*HELLO, *[PADDING] * 20)
    speaker.mark(Finish())
    assert speaker.count(Step) == speaker.count(Utterance) == 0


def test_a_model_without_heads_has_steps_without_probabilities() -> None:
    """Clocks and markers of other protocols count them."""
    speaker = Speaker(make_info(heads=0))
    speaker.hear(*HELLO)
    speaker.mark(Finish())
    steps = [event for event in speaker.events if isinstance(event, Step)]
    assert [step.index for step in steps] == list(range(len(HELLO)))
    assert {step.pause_probabilities for step in steps} == {()}


@pytest.mark.parametrize(
    ("text_ids", "mid_word"),
    [
        ((*HELLO, PADDING, PADDING), "wwwpp"),
        # A letter of two pieces is written in the second of them.
        ((END_OF_PADDING, HEL, C3, A9, PADDING), "wwwwp"),
        # A letter that is never completed is written when padding comes.
        ((END_OF_PADDING, HEL, C3, PADDING, PADDING), "wwwwp"),
        # An announced word that does not come.
        ((END_OF_PADDING, PADDING, *YOU_TOO, END_OF_PADDING, YOU), "wpwwww"),
    ],
)
def test_a_step_says_whether_the_model_is_amidst_a_word(text_ids, mid_word: str) -> None:
    speaker = Speaker()
    speaker.hear(*text_ids)
    steps = [event for event in speaker.events if isinstance(event, Step)]
    assert "".join("w" if step.mid_word else "p" for step in steps) == mid_word


def test_no_token_goes_on_with_a_word_after_a_step_between_words() -> None:
    speaker = Speaker()
    speaker.hear(END_OF_PADDING, HEL, C3, PADDING, PADDING, *YOU_TOO, PADDING)
    said = ""
    for event in speaker.events:
        match event:
            case Step(mid_word=False):
                said += "|"
            case Token(text):
                said += text
            case _:
                pass
    assert said == " hel\ufffd| you|"


def test_a_pause_closes_the_turn_with_the_word_that_is_written_after_it() -> None:
    """The text of the last word comes after the pause was heard, by the delay."""
    speaker = Speaker()
    speaker.hear(*[PADDING] * IGNORED_STEPS, *HELLO, PADDING)
    speaker.hear(PADDING, pause=0.9)
    assert (speaker.count(Pause), speaker.turns) == (1, [])
    speaker.hear(*YOU_TOO, *[PADDING] * 20, pause=0.9)
    assert (speaker.count(Pause), speaker.turns) == (1, ["hello you"])


def test_a_word_from_after_the_pause_belongs_to_the_next_turn() -> None:
    speaker = Speaker()
    speaker.hear(*[PADDING] * IGNORED_STEPS, *HELLO, PADDING)
    speaker.hear(PADDING, pause=0.9)
    # 0.5 s of delay: from the eighth step on the model writes what was said after the pause.
    speaker.hear(*[PADDING] * 7, *YOU_TOO, PADDING, *HELLO)
    speaker.mark(Finish())
    assert speaker.turns == ["hello", "you hello"]


@pytest.mark.parametrize("mark", [Flush("x"), Stall(), Finish()])
def test_flush_stall_and_end_close_the_turn(mark: Mark) -> None:
    speaker = Speaker()
    speaker.hear(*HELLO)
    speaker.mark(mark, YOU_TOO)
    assert speaker.turns == ["hello you"]
    (utterance,) = (event for event in speaker.events if isinstance(event, Utterance))
    assert utterance.start_s == utterance.words[0].start_s
    assert utterance.end_s == utterance.words[-1].end_s
    answer = [event for event in speaker.events if isinstance(event, Flushed | Final)]
    assert all(speaker.events.index(event) > speaker.events.index(utterance) for event in answer)


def test_without_heads_the_text_closes_the_turn() -> None:
    speaker = Speaker(make_info(heads=0), VadOptions(0.8))
    speaker.hear(*[PADDING] * 10, *HELLO, *[PADDING] * 10)
    assert speaker.count(Pause) == 1
    # No sound falls silent here, so the word's end is waited for.
    speaker.hear(*[PADDING] * 4)
    assert speaker.turns == ["hello"]
    (pause,) = (event for event in speaker.events if isinstance(event, Pause))
    assert pause.offset_s == pytest.approx((10 + len(HELLO) + 10) * FRAME_S)
    speaker.hear(*[PADDING] * 30, *YOU_TOO, *[PADDING] * 14)
    assert (speaker.count(Pause), speaker.turns) == (2, ["hello", "you"])


def test_other_settings_hold_for_the_audio_after_them() -> None:
    speaker = Speaker(make_info(heads=0), VadOptions(0.8))
    speaker.state.push([make_frame(), ChangeVad(VadOptions(2.0)), make_frame()])
    speaker.hear(*HELLO, *[PADDING] * 15)
    assert speaker.count(Pause) == 0
    speaker.hear(*[PADDING] * 15)
    assert speaker.count(Pause) == 1


MARKS = [
    *(Flush("x"), Stall(), Settle(), ChangeVad(VadOptions(1.0, 0.3))),
    *(Flush("y", make_frame(0.1, 700)), Stall(make_frame(0.1, 300)), Stall(make_frame(0.0, 900))),
]


@given(
    st.lists(
        st.one_of(
            st.sampled_from([PADDING, END_OF_PADDING, HEL, LO, YOU]),
            st.sampled_from(MARKS),
            st.sampled_from(["pause", "louder", "softer"]),
        ),
        max_size=80,
    ),
    st.sampled_from([0, 4]),
    st.sampled_from([0.0, 0.5, 2.5]),
)
def test_every_word_is_in_one_utterance_in_order(script, heads: int, delay_s: float) -> None:
    speaker = Speaker(make_info(heads=heads, delay_s=delay_s), VadOptions(1.0))
    level = 0.0
    for item in script:
        match item:
            case int():
                speaker.hear(item, level=level)
            case "pause":
                speaker.hear(PADDING, PADDING, pause=0.9)
            case "louder" | "softer":
                level = 0.1 if item == "louder" else 0.0
            case _:
                speaker.mark(item, [HEL])
    speaker.mark(Finish())
    words = [event for event in speaker.events if isinstance(event, Word)]
    utterances = [event for event in speaker.events if isinstance(event, Utterance)]
    assert [word for utterance in utterances for word in utterance.words] == words
    transcript = "".join(event.text for event in speaker.events if isinstance(event, Token))
    assert speaker.events[-1] == Final(transcript, tuple(words), speaker.state.processed_s)
