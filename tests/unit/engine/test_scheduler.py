"""Who has a slot, and who is stepped next."""

import numpy as np
import pytest

from stt_service.engine.errors import BrokenOutput, Draining, NoFreeSlot, Overloaded
from stt_service.engine.events import Final
from stt_service.engine.options import SessionOptions
from stt_service.engine.scheduler import Delivery, SessionFailed
from stt_service.engine.session_state import Finish
from stt_service.engine.slots import Lease
from tests.unit.engine.models import (
    END_OF_PADDING,
    FRAME_S,
    HEL,
    LO,
    make_frame,
    make_output,
)
from tests.unit.engine.scheduling import Bench


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
