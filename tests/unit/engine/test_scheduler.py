from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stt_service.engine.errors import BrokenOutput, Draining, EngineError, NoFreeSlot, Overloaded
from stt_service.engine.events import Event, Final, Flushed, Pause, Token, Word
from stt_service.engine.options import SessionOptions
from stt_service.engine.scheduler import Delivery, Scheduler, SessionFailed
from stt_service.engine.session_state import Finish, Flush, Stall
from stt_service.engine.slots import Lease
from tests.unit.engine.models import (
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    PADDING,
    make_frame,
    make_info,
    make_output,
)

# The tail of a model with 0.5 s delay: 0.75 s in steps.
TAIL_STEPS = 10


class Bench:
    """A scheduler with a model that says the same id to everyone."""

    def __init__(self, slots: int = 2, **info) -> None:
        self.info = make_info(**info)
        self.slots = slots
        self.scheduler = Scheduler(self.info, slots)
        self.heard: dict[str, list[Event]] = defaultdict(list)
        self.items_done: dict[str, int] = {}
        self.leases: dict[str, Lease] = {}
        self.plans = []

    def open(self, name: str, **options) -> Lease:
        outcome = self.ask(name, **options)
        assert isinstance(outcome, Lease)
        return outcome

    def ask(self, name: str, **options) -> Lease | EngineError:
        self.scheduler.open(name, SessionOptions(**options))
        answers = {answer.session_id: answer.outcome for answer in self.scheduler.admit()}
        self.leases |= {who: found for who, found in answers.items() if isinstance(found, Lease)}
        return answers[name]

    def step(self, text_id: int = PADDING, pause: float = 0.0) -> bool:
        plan = self.scheduler.plan()
        if plan.is_idle:
            self.tell(plan.deliveries)
            return False
        self.plans.append((plan.active.copy(), plan.reset.copy()))
        output = make_output([text_id] * self.slots, pause)
        fine = np.zeros(self.slots, dtype=np.bool_)
        self.tell(self.scheduler.apply(plan, output, fine))
        return True

    def run(self, limit: int = 1000) -> int:
        steps = 0
        while self.step():
            steps += 1
            assert steps < limit
        return steps

    def tell(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.heard[delivery.session_id] += delivery.events
            self.items_done[delivery.session_id] = delivery.items_done


def test_one_frame_for_every_slot_that_has_one() -> None:
    bench = Bench(slots=3)
    a, b = bench.open("a"), bench.open("b")
    bench.scheduler.push(a, [make_frame()] * 2)
    bench.scheduler.push(b, [make_frame()])
    assert bench.run() == 2
    assert [active.tolist() for active, _ in bench.plans] == [
        [True, True, False],
        [True, False, False],
    ]


def test_a_session_is_reset_at_its_first_step_only() -> None:
    bench = Bench(slots=2)
    a = bench.open("a")
    bench.scheduler.push(a, [make_frame()])
    bench.run()
    b = bench.open("b")
    bench.scheduler.push(a, [make_frame()])
    bench.scheduler.push(b, [make_frame()])
    bench.run()
    assert [reset.tolist() for _, reset in bench.plans] == [[True, False], [False, True]]


def test_the_planned_samples_are_the_sessions_own() -> None:
    bench = Bench(slots=2)
    for name, level in (("a", 0.1), ("b", 0.2)):
        bench.scheduler.push(bench.open(name), [make_frame(level)])
    plan = bench.scheduler.plan()
    assert plan is not None
    assert plan.pcm.shape == (2, 1, 1920)
    np.testing.assert_allclose(plan.pcm[:, 0].mean(axis=1), [0.1, 0.2], rtol=1e-5)


def test_without_work_there_is_no_plan() -> None:
    bench = Bench()
    assert not bench.step()
    bench.open("a")
    assert not bench.step()


def test_a_full_table_refuses_and_a_freed_slot_is_usable_at_once() -> None:
    bench = Bench(slots=1)
    lease = bench.open("a")
    assert isinstance(bench.ask("b"), NoFreeSlot)
    bench.scheduler.close(lease)
    assert bench.open("c").slot == lease.slot


def test_who_waits_is_admitted_in_order_when_slots_are_free() -> None:
    bench = Bench(slots=1)
    lease = bench.open("a")
    for name in ("b", "c"):
        bench.scheduler.open(name, SessionOptions(wait_for_slot_s=5))
    assert bench.scheduler.admit() == []
    assert not bench.scheduler.could_admit
    bench.scheduler.close(lease)
    assert bench.scheduler.could_admit
    assert isinstance(bench.ask("d"), NoFreeSlot)
    bench.scheduler.close(bench.leases["b"])
    assert [answer.session_id for answer in bench.scheduler.admit()] == ["c"]


def test_while_the_engine_is_behind_nobody_is_admitted() -> None:
    bench = Bench(slots=2)
    bench.scheduler.open("waits", SessionOptions(wait_for_slot_s=5))
    bench.scheduler.open("asks", SessionOptions())
    [answer] = bench.scheduler.admit(behind_s=0.7, max_behind_s=0.5)
    assert answer.session_id == "asks"
    assert isinstance(answer.outcome, Overloaded)
    assert answer.outcome.retry_after_s > 0
    [answer] = bench.scheduler.admit(behind_s=0.5, max_behind_s=0.5)
    assert (answer.session_id, type(answer.outcome)) == ("waits", Lease)


def test_who_gives_up_waiting_takes_no_slot() -> None:
    bench = Bench(slots=1)
    lease = bench.open("a")
    for name in ("b", "c"):
        bench.scheduler.open(name, SessionOptions(wait_for_slot_s=5))
    bench.scheduler.admit()
    bench.scheduler.abandon("b")
    bench.scheduler.close(lease)
    assert [answer.session_id for answer in bench.scheduler.admit()] == ["c"]


def test_draining_refuses_those_who_wait() -> None:
    bench = Bench(slots=1)
    bench.open("a")
    bench.scheduler.open("b", SessionOptions(wait_for_slot_s=5))
    assert bench.scheduler.admit() == []
    bench.scheduler.drain()
    [answer] = bench.scheduler.admit()
    assert isinstance(answer.outcome, Draining)


def test_a_broken_row_ends_its_own_session_and_frees_its_slot() -> None:
    bench = Bench(slots=2)
    leases = {name: bench.open(name) for name in ("broken", "fine")}
    for lease in leases.values():
        bench.scheduler.push(lease, [make_frame()] * 2)
    broken = np.zeros(2, dtype=np.bool_)
    broken[leases["broken"].slot] = True
    outcomes = bench.scheduler.apply(bench.scheduler.plan(), make_output([HEL, HEL]), broken)
    by_session = {outcome.session_id: outcome for outcome in outcomes}
    failed = by_session["broken"]
    assert isinstance(failed, SessionFailed)
    assert isinstance(failed.error, BrokenOutput)
    assert isinstance(by_session["fine"], Delivery)
    assert bench.open("next").slot == leases["broken"].slot
    assert bench.step()
    assert bench.items_done == {"fine": 2}


def test_a_late_push_to_a_reused_slot_is_dropped() -> None:
    bench = Bench(slots=1)
    old = bench.open("old")
    bench.scheduler.close(old)
    bench.open("new")
    bench.scheduler.push(old, [make_frame()])
    assert not bench.step()


def test_draining_refuses_everyone_and_lets_the_others_finish() -> None:
    bench = Bench()
    lease = bench.open("a")
    bench.scheduler.drain()
    assert isinstance(bench.ask("b"), Draining)
    bench.scheduler.push(lease, [make_frame(), Finish()])
    bench.run()
    assert isinstance(bench.heard["a"][-1], Final)


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


def test_final_carries_everything_and_frees_the_slot() -> None:
    bench = Bench(slots=1, delay_s=0.0)
    lease = bench.open("a")
    bench.scheduler.push(lease, [make_frame()] * 3 + [Finish()])
    for text_id in (END_OF_PADDING, HEL, LO):
        bench.step(text_id)
    bench.run()
    final = bench.heard["a"][-1]
    assert isinstance(final, Final)
    assert final.transcript == " hello"
    assert [word.text for word in final.words] == ["hello"]
    assert final.audio_duration_s == pytest.approx(3 * FRAME_S)
    assert bench.open("b").slot == lease.slot


@pytest.mark.parametrize(("mark", "pauses"), [(Stall(), 1), (Flush("x"), 0), (Finish(), 0)])
def test_only_a_stalls_silence_is_a_real_pause(mark, pauses) -> None:
    bench = Bench()
    bench.scheduler.push(bench.open("a"), [make_frame()] * 15 + [mark])
    for _ in range(15):
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
