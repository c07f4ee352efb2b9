"""Whatever is flushed and stalls, and whenever: nothing is lost, and nothing is told twice."""

import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_service.engine.events import (
    Event,
    Final,
    Flushed,
    Pause,
    Step,
    Token,
    Utterance,
    Word,
)
from stt_service.engine.frames import Frame, Framer
from stt_service.engine.model import ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.session_state import (
    ChangeVad,
    Finish,
    Flush,
    Mark,
    SessionState,
    Settle,
    Stall,
)
from tests.unit.engine.models import (
    C3,
    END_OF_PADDING,
    FRAME_S,
    FRAME_SAMPLES,
    HEL,
    LO,
    PADDING,
    SAMPLE_RATE_HERTZ,
    SPACE,
    YOU,
    make_info,
)

# A frame's samples say which text id the model makes of it; quiet ones are padding.
LOUD, LEVEL_AN_ID = 0.2, 0.01
ANY_IDS = (END_OF_PADDING, PADDING, PADDING, HEL, LO, YOU, C3, SPACE)
# A detour amid a word that is not announced yet may move its start by a step.
START_TOLERANCE_S = 1.01 * FRAME_S


def level_of(text_id: int, *, is_quiet: bool) -> float:
    return 0.0 if is_quiet else LOUD + LEVEL_AN_ID * text_id


class Model:
    """Writes, the delay later, what each frame says of itself: if it is honest the same in a tail
    as without one, and else anything."""

    def __init__(self, info: ModelInfo, dice: random.Random, *, is_honest: bool) -> None:
        self._dice = dice
        self._is_honest = is_honest
        self._delay_steps = info.count_steps(info.delay_s)
        self._heard: list[int] = []
        self._kept: list[int] | None = None

    def step(self, state: SessionState, frame: Frame) -> int:
        if state.is_returning:
            assert self._kept is not None
            self._heard = self._kept.copy()
        if state.is_leaving:
            self._kept = self._heard.copy()
        level = float(frame.pcm[0])
        self._heard.append(round((level - LOUD) / LEVEL_AN_ID) if level else PADDING)
        if not self._is_honest and frame.audio_samples < FRAME_SAMPLES:
            return self._dice.choice(ANY_IDS)
        position = len(self._heard) - 1 - self._delay_steps
        return self._heard[position] if position >= 0 else PADDING


@dataclass
class Caller:
    """A session whose audio comes in pieces, and what it is told."""

    info: ModelInfo
    dice: random.Random
    is_honest: bool = True
    events: list[Event] = field(default_factory=list[Event])
    pushed: int = 0
    flushes: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        options = SessionOptions(wants_steps=True, wants_utterances=True)
        self.state = SessionState("a", options, self.info)
        self._framer = Framer("pcm_f32le", SAMPLE_RATE_HERTZ, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)
        self._model = Model(self.info, self.dice, is_honest=self.is_honest)
        self._processed_s = 0.0

    def say(self, data: bytes) -> None:
        for frames in self._framer.push(data):
            self._push(frames)

    def mark(self, kind: str) -> None:
        frames, rest = self._framer.show_rest()
        match kind:
            case "flush":
                self.flushes.append(str(len(self.flushes)))
                self._push([*frames, Flush(self.flushes[-1], rest)])
            case "stall":
                self._push([*frames, Stall(rest)])
            case "settle":
                self._push([*frames, Stall(rest), Settle()])
            case "vad":
                self._push([ChangeVad(VadOptions(self.dice.choice([0.5, 2.0])))])
            case _:
                self._push([*self._framer.cut_rest(), Finish()])

    def step(self, count: int) -> None:
        """So many steps, or fewer, if there is nothing to step."""
        for _ in range(count):
            self.events += self.state.reach_marks()
            frame = None if self.state.finished else self.state.take_frame()
            if frame is None:
                return
            pauses = np.full(len(self.info.pause_heads_s), self.dice.random(), dtype=np.float32)
            self.events += self.state.apply(frame, self._model.step(self.state, frame), 1.0, pauses)
            assert self.state.processed_s >= self._processed_s
            self._processed_s = self.state.processed_s

    def _push(self, items: list[Frame | Mark]) -> None:
        self.pushed += len(items)
        self.state.push(items)

    def find(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def write_speech(dice: random.Random) -> list[tuple[int, bool]]:
    """Frames, each a text id and whether it is quiet; words are one piece behind a boundary."""
    frames: list[tuple[int, bool]] = []
    for _ in range(dice.randint(1, 6)):
        frames += [(PADDING, dice.random() < 0.5)] * dice.randint(0, 6)
        frames += [(END_OF_PADDING, False), (dice.choice([HEL, YOU]), False)]
        frames += [(PADDING, False)] * dice.randint(1, 4)
    return frames + [(PADDING, True)] * dice.randint(0, 4)


INFOS = [
    make_info(delay_s=0.4),
    make_info(delay_s=0.5),
    make_info(delay_s=2.5, silence_prefix_s=1.0, heads=0),
]
MARKS = ["flush", "stall", "settle", "vad"]


def write_samples(speech: list[tuple[int, bool]], dice: random.Random) -> bytes:
    levels = [level_of(text_id, is_quiet=is_quiet) for text_id, is_quiet in speech]
    samples = np.repeat(np.float32(levels), FRAME_SAMPLES)[dice.randrange(FRAME_SAMPLES) :]
    return samples.astype("<f4").tobytes()


def speak(caller: Caller, data: bytes, longest_piece: int, marks: float, patience: int) -> None:
    """Say it in pieces, some with a mark behind them, and step not always as far as it goes."""
    dice = caller.dice
    position = 0
    while position < len(data):
        size = 4 * dice.randint(1, longest_piece)
        caller.say(data[position : position + size])
        position += size
        if dice.random() < marks:
            caller.mark(dice.choice(MARKS))
        caller.step(dice.randint(1, patience))
    caller.mark("end")
    caller.step(10_000)


def check(caller: Caller, data: bytes) -> Final:
    """What holds whatever the model writes."""
    final = caller.events[-1]
    assert isinstance(final, Final)
    assert final.transcript == "".join(token.text for token in caller.find(Token))
    assert list(final.words) == caller.find(Word)
    told = [word for utterance in caller.find(Utterance) for word in utterance.words]
    assert told == caller.find(Word)
    assert final.audio_duration_s == pytest.approx(len(data) / 4 / SAMPLE_RATE_HERTZ)
    assert all(0 <= word.start_s <= word.end_s for word in final.words)
    assert all(word.end_s <= final.audio_duration_s for word in final.words)
    frames = -(-len(data) // (4 * FRAME_SAMPLES))
    assert [step.index for step in caller.find(Step)] == list(range(frames))
    assert [flushed.flush_id for flushed in caller.find(Flushed)] == caller.flushes
    assert caller.state.items_done == caller.pushed
    pauses = [pause.offset_s for pause in caller.find(Pause)]
    assert pauses == sorted(pauses)
    return final


any_caller = given(
    info=st.sampled_from(INFOS),
    longest_piece=st.sampled_from([FRAME_SAMPLES // 2, 3 * FRAME_SAMPLES]),
    marks=st.floats(0.1, 1),
    patience=st.sampled_from([3, 60, 10_000]),
    seed=st.integers(0, 2**32),
)


@settings(deadline=None, max_examples=200)
@any_caller
def test_nothing_is_lost_and_nothing_is_told_twice(
    info: ModelInfo, longest_piece: int, marks: float, patience: int, seed: int
) -> None:
    """Of what the model makes the same of, with silence behind it or not."""
    dice = random.Random(seed)
    speech = write_speech(dice)
    data = write_samples(speech, dice)
    plain = Caller(info, dice)
    speak(plain, data, len(data), 0, 10_000)
    caller = Caller(info, dice)
    speak(caller, data, longest_piece, marks, patience)
    final = check(caller, data)
    texts = [info.pieces[text_id].decode() for text_id, _ in speech if text_id in (HEL, YOU)]
    assert [token.text for token in caller.find(Token)] == texts
    assert [word.text for word in final.words] == [text.strip() for text in texts]
    for word, expected in zip(final.words, plain.find(Word), strict=True):
        assert word.start_s == pytest.approx(expected.start_s, abs=START_TOLERANCE_S)
    assert len(caller.find(Pause)) <= len(texts)


@settings(deadline=None, max_examples=200)
@any_caller
def test_whatever_the_model_writes_in_a_tail_the_events_agree(
    info: ModelInfo, longest_piece: int, marks: float, patience: int, seed: int
) -> None:
    dice = random.Random(seed)
    data = write_samples(write_speech(dice), dice)
    caller = Caller(info, dice, is_honest=False)
    speak(caller, data, longest_piece, marks, patience)
    check(caller, data)
