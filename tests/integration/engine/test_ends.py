"""How an engine ends: drained, stopped, or dead. Every session is told."""

import asyncio

import pytest

from stt_service.engine.engine import Engine, State
from stt_service.engine.errors import (
    Draining,
    EngineDied,
)
from stt_service.engine.options import SessionOptions
from stt_service.engine.step.moshi_model import MoshiModel
from tests.integration.engine.harness import (
    SLOTS,
    FailingModel,
    load_model,
    open_session,
    read_until_error,
    run_engine,
)


async def test_draining_lets_everyone_in_finish(recordings) -> None:
    async with run_engine() as engine, open_session(engine) as session:
        reading = asyncio.create_task(read_until_error(session))
        await session.push_audio(recordings[0].pcm_f32le())
        draining = asyncio.create_task(engine.drain(grace_s=60.0))
        await asyncio.sleep(0)
        with pytest.raises(Draining):
            await engine.open_session(SessionOptions())
        session.finish()
        updates, error = await reading
        assert updates[-1].event.transcript.strip() == recordings[0].text
        assert error is None
        session.close()
        await asyncio.wait_for(draining, 5)


async def test_who_stays_longer_than_the_grace_gets_the_words_so_far(recordings) -> None:
    async with run_engine() as engine, open_session(engine) as session:
        reading = asyncio.create_task(read_until_error(session))
        await session.push_audio(recordings[1].pcm_f32le())
        await engine.drain(grace_s=0.1, finish_s=1.0)
        updates, error = await reading
        assert updates[-1].event.transcript.strip() == recordings[1].text
        assert isinstance(error, Draining)


async def test_openings_are_answered_when_the_engine_stops_or_drains() -> None:
    async with run_engine() as engine:
        opening = asyncio.create_task(engine.open_session(SessionOptions()))
        await asyncio.sleep(0)
        await engine.drain(grace_s=0.0)
        with pytest.raises(Draining):
            await asyncio.wait_for(opening, 5)
    async with run_engine() as engine:
        opening = asyncio.create_task(engine.open_session(SessionOptions()))
        await asyncio.sleep(0)
        await engine.stop()
        with pytest.raises(Draining):
            await asyncio.wait_for(opening, 5)


async def test_when_the_model_dies_every_session_is_told(recordings) -> None:
    engine = Engine(lambda: FailingModel(load_model(), steps=10))
    await engine.start()
    sessions = [await engine.open_session(SessionOptions()) for _ in range(3)]
    readings = [asyncio.create_task(read_until_error(session)) for session in sessions]
    pushes = [session.push_audio(recordings[0].pcm_f32le()) for session in sessions]
    await asyncio.gather(*pushes, return_exceptions=True)
    for _, error in await asyncio.gather(*readings):
        assert isinstance(error, EngineDied)
        assert "illegal memory access" not in str(error), "callers are strangers"
    assert engine.state is State.DEAD
    assert "illegal memory access" in (await engine.wait_for_death()).reason
    with pytest.raises(EngineDied):
        await engine.open_session(SessionOptions())
    await engine.stop()


async def test_a_checkpoint_that_is_not_there_says_so() -> None:
    engine = Engine(lambda: MoshiModel("./nowhere", SLOTS, "cpu"))
    with pytest.raises(Exception, match="no such directory"):
        await engine.start()
