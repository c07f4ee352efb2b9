"""The silence that the engine makes: before the audio, at a flush, at a stall, at the end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_service.engine.events import Final, Flushed, Pause, Token, Word
from stt_service.engine.session_state import Finish, Flush, Stall
from stt_service.engine.slots import Lease
from tests.unit.engine.models import (
    END_OF_PADDING,
    HEL,
    LO,
    PADDING,
    make_frame,
)
from tests.unit.engine.scheduling import Bench

# The tail of a model with 0.5 s delay: 0.75 s in steps.
TAIL_STEPS = 10


@pytest.mark.parametrize("mark", [Flush("x"), Finish()])
def test_the_tail_is_the_delay_and_a_little(mark) -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [make_frame()] * 5 + [mark])
    assert bench.run() == 5 + TAIL_STEPS
    assert bench.items_done["a"] == 6


def test_audio_after_a_flush_waits_for_the_tail() -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [make_frame(), Flush("1"), make_frame(), Flush("2")])
    assert bench.run() == 2 * (1 + TAIL_STEPS)
    assert [e.flush_id for e in bench.heard["a"] if isinstance(e, Flushed)] == ["1", "2"]


def test_a_flush_with_nothing_new_is_answered_at_once() -> None:
    bench = Bench()
    lease = bench.open("a")
    bench.scheduler.push(lease, [Flush("early")])
    assert bench.run() == 0
    bench.scheduler.push(lease, [make_frame(), Stall(), Flush("late")])
    assert bench.run() == 1 + TAIL_STEPS
    flushed = [e for e in bench.heard["a"] if isinstance(e, Flushed)]
    assert flushed == [Flushed("early"), Flushed("late")]


def test_a_tail_waits_for_the_word_that_is_being_written() -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [make_frame(), Flush("x")])
    said = [PADDING] * TAIL_STEPS + [END_OF_PADDING, HEL, LO, PADDING]
    for text_id in said:
        assert bench.step(text_id)
    assert not bench.step()
    events = bench.heard["a"]
    assert [e.text for e in events if isinstance(e, Token)] == [" hel", "lo"]
    assert isinstance(events[-2], Word)
    assert events[-1] == Flushed("x")


def test_a_model_that_never_stops_writing_does_not_hold_the_flush() -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [make_frame(), Flush("x")])
    steps = 0
    while bench.step(LO):
        steps += 1
    assert steps == 1 + TAIL_STEPS + 25


def test_a_masked_slot_keeps_its_tail() -> None:
    """Two sessions that flush at different times each get a whole tail of their own."""
    bench = Bench(slots=2)
    a, b = bench.open("a"), bench.open("b")
    bench.scheduler.push(a, [make_frame(), Flush("a")])
    for _ in range(4):
        bench.step()
    bench.scheduler.push(b, [make_frame(), Flush("b")])
    bench.run()
    active = np.array([active for active, _ in bench.plans])
    assert active.sum(axis=0).tolist() == [1 + TAIL_STEPS] * 2


def test_the_prefix_is_stepped_before_the_audio() -> None:
    bench = Bench(silence_prefix_s=1.0)
    bench.scheduler.push(bench.open("a"), [make_frame()])
    assert bench.run() == 13 + 1


@pytest.mark.parametrize(("mark", "pauses"), [(Stall(), 1), (Flush("x"), 0), (Finish(), 0)])
def test_only_a_stalls_silence_is_a_real_pause(mark, pauses) -> None:
    bench = Bench()
    frames = [*[make_frame()] * 13, *[make_frame(0.0)] * 2]
    bench.scheduler.push(bench.open("a"), [*frames, mark])
    for _ in frames:
        bench.step(HEL)
    while bench.step(PADDING, pause=0.9):
        pass
    assert sum(isinstance(e, Pause) for e in bench.heard["a"]) == pauses


@pytest.mark.parametrize("steps_before", [0, 1, 5, 12, 13, 14])
def test_finishing_in_the_prefix_ends_quietly(steps_before) -> None:
    """Also where no audio came, and the silence before it was never stepped whole."""
    bench = Bench(slots=1, silence_prefix_s=1.0)
    lease = bench.open("a")
    for _ in range(steps_before):
        bench.step()
    bench.scheduler.push(lease, [Finish()])
    bench.run()
    assert [type(event) for event in bench.heard["a"]] == [Final]
    assert bench.open("b").slot == lease.slot


def test_nothing_comes_after_final() -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [Finish(), Flush("late"), make_frame()])
    bench.run()
    assert [type(event) for event in bench.heard["a"]] == [Final]


def test_a_word_that_comes_in_a_flushs_tail_still_makes_a_turn() -> None:
    bench = Bench()
    frames = [make_frame()] * 15
    bench.scheduler.push(bench.open("a"), [*frames, Flush("x"), *frames])
    for _ in range(15):
        bench.step(PADDING)
    for _ in range(TAIL_STEPS):
        bench.step(HEL)
    while bench.step(PADDING, pause=0.9):
        pass
    assert sum(isinstance(e, Pause) for e in bench.heard["a"]) == 1


actions = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["audio", "flush", "stall", "close", "finish"])),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(actions, st.randoms(), st.sampled_from([0.0, 1.0]))
def test_whatever_happens_every_flush_is_answered_in_order(steps, random, prefix_s) -> None:
    bench = Bench(slots=2, silence_prefix_s=prefix_s)
    names = iter(range(1000))
    sessions: dict[int, tuple[str, Lease]] = {}
    asked: dict[str, list[str]] = {}
    ended: set[str] = set()
    for who, action in steps:
        if who not in sessions:
            name = f"s{next(names)}"
            outcome = bench.ask(name)
            if not isinstance(outcome, Lease):
                assert len(sessions) == 2
                continue
            sessions[who], asked[name] = (name, outcome), []
        name, lease = sessions[who]
        match action:
            case "audio":
                bench.scheduler.push(lease, [make_frame()] * random.randint(1, 3))
            case "flush":
                asked[name].append(str(len(asked[name])))
                bench.scheduler.push(lease, [Flush(asked[name][-1])])
            case "stall":
                bench.scheduler.push(lease, [Stall()])
            case "close":
                bench.scheduler.close(lease)
                del sessions[who], asked[name]
            case "finish":
                bench.scheduler.push(lease, [Finish()])
                bench.run()
                ended.add(name)
                del sessions[who]
        for _ in range(random.randint(0, 4)):
            bench.step()
    bench.run()
    for name, flush_ids in asked.items():
        events = bench.heard[name]
        assert [e.flush_id for e in events if isinstance(e, Flushed)] == flush_ids
        assert sum(isinstance(e, Final) for e in events) == (name in ended)
