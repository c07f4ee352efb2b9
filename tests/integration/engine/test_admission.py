"""Who is let in: first come first served, and nobody while the model is behind."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio

from stt_service.engine.engine import Engine
from stt_service.engine.errors import Draining, NoFreeSlot, Overloaded
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from tests.integration.engine.harness import GatedModel, run_engine, transcribe
from tests.interleaving import become

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENT = SessionOptions(wait_for_slot_s=60)
SLOTS = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> GatedModel:
    return GatedModel(SLOTS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(model: GatedModel) -> AsyncIterator[Engine]:
    async with run_engine(load=model.load) as running:
        yield running


async def fill(engine: Engine) -> list[Session]:
    return [await engine.open_session(SessionOptions()) for _ in range(SLOTS)]


async def wait_in_line(engine: Engine, how_many: int) -> list[asyncio.Task[Session]]:
    waiting = [asyncio.create_task(engine.open_session(PATIENT)) for _ in range(how_many)]
    await become(lambda: engine.sessions_waiting == how_many, lambda: "not in line")
    return waiting


async def test_who_waits_gets_the_next_free_slot_in_the_order_of_coming(engine: Engine) -> None:
    taken = await fill(engine)
    waiting = await wait_in_line(engine, 5)
    with pytest.raises(NoFreeSlot):
        await engine.open_session(SessionOptions())
    admitted: list[Session] = []
    for task in waiting:
        (admitted or taken).pop(0).close()
        admitted.append(await asyncio.wait_for(task, 5))
        assert [other.done() for other in waiting] == sorted(
            (other.done() for other in waiting), reverse=True
        )
    for session in [*taken, *admitted]:
        session.close()
    assert engine.slots_free == SLOTS


async def test_a_slot_that_a_session_frees_with_its_final_goes_to_who_waits(
    engine: Engine,
) -> None:
    first, second = await fill(engine)
    [waiting] = await wait_in_line(engine, 1)
    first.finish()
    admitted = await asyncio.wait_for(waiting, 5)
    for session in (first, second, admitted):
        session.close()


async def test_who_stops_waiting_vanishes_from_the_line(engine: Engine) -> None:
    taken = await fill(engine)
    waiting = await wait_in_line(engine, 3)
    for task in waiting[:2]:
        task.cancel()
    await asyncio.wait(waiting[:2])
    taken.pop().close()
    admitted = await asyncio.wait_for(waiting[2], 5)
    for session in (*taken, admitted):
        session.close()
    assert engine.slots_free == SLOTS
    for session in await fill(engine):
        session.close()


async def test_waiting_has_an_end(engine: Engine) -> None:
    taken = await fill(engine)
    started_s = asyncio.get_running_loop().time()
    with pytest.raises(NoFreeSlot):
        await engine.open_session(SessionOptions(wait_for_slot_s=0.3))
    assert asyncio.get_running_loop().time() - started_s >= 0.3
    assert engine.sessions_waiting == 0
    for session in taken:
        session.close()
    for session in await fill(engine):
        session.close()


async def test_whoever_comes_and_goes_while_slots_change_hands_no_lease_is_lost(
    engine: Engine,
) -> None:
    dice = np.random.default_rng(20261128)
    held: list[Session] = await fill(engine)
    for _ in range(200):
        opening = asyncio.create_task(engine.open_session(PATIENT))
        for _ in range(dice.integers(0, 4)):
            await asyncio.sleep(0)
        held.pop(0).close()
        if dice.random() < 0.5:
            opening.cancel()
        await asyncio.wait([opening])
        if opening.cancelled():
            opening = asyncio.create_task(engine.open_session(PATIENT))
        held.append(await asyncio.wait_for(opening, 5))
    for session in held:
        session.close()
    assert engine.slots_free == SLOTS
    for session in await fill(engine):
        session.close()


async def test_while_the_model_is_behind_a_new_session_is_refused_or_waits(recordings) -> None:
    """One slot is taken, one is free; the one who is in hears everything in the end."""
    model = GatedModel(SLOTS)
    async with run_engine(load=model.load, max_behind_s=0.5) as engine:
        await fall_behind_and_catch_up(engine, model, recordings)


async def fall_behind_and_catch_up(engine: Engine, model: GatedModel, recordings) -> None:
    model.gates["step"].clear()
    inside = asyncio.create_task(transcribe(engine, recordings[0].pcm_f32le()))
    await become(lambda: engine.behind_s > 0.5, lambda: f"it is behind by {engine.behind_s}")
    assert (engine.slots_free, engine.slots_open) == (1, 0)
    with pytest.raises(Overloaded) as refused:
        await engine.open_session(SessionOptions())
    assert refused.value.retry_after_s > 0
    with pytest.raises(Overloaded):
        await engine.open_session(SessionOptions(wait_for_slot_s=0.1))
    [waiting] = await wait_in_line(engine, 1)
    model.gates["step"].set()
    (await asyncio.wait_for(waiting, 20)).close()
    assert (await inside).transcript.strip() == recordings[0].text
    await become(lambda: engine.slots_open == SLOTS, lambda: f"{engine.behind_s} s behind")


async def test_a_sender_at_full_speed_does_not_make_the_engine_late(
    engine: Engine, model: GatedModel, recordings
) -> None:
    """Its queue is long because it sends fast, not because the model is slow."""
    tasks = [asyncio.create_task(transcribe(engine, recordings[0].pcm_f32le()))]
    steps = model.steps
    await become(lambda: model.steps > steps + 10, lambda: "it does not step", patience_s=20)
    assert engine.queue_depth > 12
    # A step may be late on a busy machine, but not by as much as waits in the queue.
    assert engine.behind_s < 0.08 * engine.queue_depth
    await asyncio.gather(*tasks)


async def test_a_drain_sends_those_who_wait_away() -> None:
    fresh = GatedModel(slots=1)
    async with run_engine(load=fresh.load) as engine:
        inside = await engine.open_session(SessionOptions())
        [waiting] = await wait_in_line(engine, 1)
        draining = asyncio.create_task(engine.drain(grace_s=20))
        with pytest.raises(Draining):
            await asyncio.wait_for(waiting, 5)
        inside.close()
        await asyncio.wait_for(draining, 5)
