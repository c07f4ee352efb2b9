"""A model that hangs or computes no numbers: who is told, and what goes on."""

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stt_service.config import DIGITS_CHECKPOINT, EngineLimits
from stt_service.engine.engine import Engine, State
from stt_service.engine.errors import BrokenOutput, EngineDied, UnsuitableCheckpoint
from stt_service.engine.model import StepPlan
from stt_service.engine.options import SessionOptions
from stt_service.engine.rows import CHECK_STEPS
from stt_service.engine.step.moshi_model import MoshiModel
from stt_service.metrics import Metrics
from tests.integration.engine.harness import (
    BreakingModel,
    GatedModel,
    load_model,
    read_until_error,
    run_engine,
    transcribe,
)
from tests.interleaving import Complaints, become

A_SECOND = np.zeros(24_000, dtype="<f4").tobytes()


async def test_a_model_that_hangs_is_dead_and_everyone_is_told() -> None:
    complaints = Complaints()
    model = GatedModel(slots=2)
    async with run_engine(load=model.load, step_timeout_s=0.6) as engine:
        sessions = [await engine.open_session(SessionOptions()) for _ in range(2)]
        readings = [asyncio.create_task(read_until_error(session)) for session in sessions]
        model.gates["step"].clear()
        await sessions[0].push_audio(A_SECOND)
        death = await asyncio.wait_for(engine.wait_for_death(), 20)
        assert "no step has ended for 0.6 s while audio waited" in death.reason
        for _, error in await asyncio.gather(*readings):
            assert isinstance(error, EngineDied)
        assert engine.state is State.DEAD
        with pytest.raises(EngineDied):
            await engine.open_session(SessionOptions())
        model.gates["step"].set()
    # What the thread had to say when it went on finds nobody, and does no harm.
    assert complaints.collect() == []
    assert engine.state is State.DEAD


@pytest.mark.parametrize(
    ("part", "limit", "words"),
    [
        ("load", "loading_timeout_s", "loading the model has taken more than 0.5 s"),
        ("warm_up", "warm_up_timeout_s", "warming up has taken more than 0.5 s"),
    ],
)
async def test_a_model_that_hangs_before_it_serves_is_dead_too(part, limit, words) -> None:
    complaints = Complaints()
    model = GatedModel(slots=1)
    model.gates[part].clear()
    engine = Engine(model.load, limits=EngineLimits(**{limit: 0.5}))
    with pytest.raises(EngineDied) as died:
        await asyncio.wait_for(engine.start(), 20)
    assert words in died.value.reason
    assert engine.state is State.DEAD
    model.gates[part].set()
    await engine.stop()
    assert engine.state is State.DEAD
    assert complaints.collect() == []


async def test_a_model_that_waits_for_audio_or_is_slow_has_not_hung(recordings) -> None:
    model = GatedModel(slots=1)
    async with run_engine(load=model.load, step_timeout_s=2.0) as engine:
        session = await engine.open_session(SessionOptions())
        model.gates["step"].clear()
        await session.push_audio(A_SECOND)
        # A step that takes long, and then a rest that takes longer than a step may.
        await become(lambda: engine.behind_s > 1.0, lambda: "no step is waited for")
        model.gates["step"].set()
        await become(lambda: session.items_waiting == 0, lambda: "not stepped", patience_s=20)
        await asyncio.sleep(2.5)
        assert engine.state is State.SERVING
        session.close()
        final = await transcribe(engine, recordings[0].pcm_f32le())
        assert final.transcript.strip() == recordings[0].text


async def test_a_row_that_is_no_number_ends_its_session_alone(recordings) -> None:
    """Its neighbour hears everything, and so does the next one in that slot."""
    metrics = Metrics()
    broken_at = CHECK_STEPS + 12

    def break_slot_0(plan: StepPlan, step: int) -> list[int]:
        return [0] if step == broken_at else []

    def load() -> BreakingModel:
        return BreakingModel(load_model(), break_slot_0)

    async with run_engine(metrics.record_step, load) as engine:
        unlucky = await engine.open_session(SessionOptions())
        reading = asyncio.create_task(read_until_error(unlucky))
        neighbour = asyncio.create_task(transcribe(engine, recordings[1].pcm_f32le()))
        await asyncio.gather(unlucky.push_audio(recordings[0].pcm_f32le()), return_exceptions=True)
        updates, error = await reading
        unlucky.close()
        assert isinstance(error, BrokenOutput)
        assert all(np.isfinite(update.processed_s) for update in updates)
        assert (await neighbour).transcript.strip() == recordings[1].text
        following = await transcribe(engine, recordings[2].pcm_f32le())
        assert following.transcript.strip() == recordings[2].text
        assert engine.state is State.SERVING
        assert engine.slots_free == engine.slots_total
    assert metrics.registry.get_sample_value("stt_broken_rows_total") == 1


async def test_three_rows_in_a_row_that_are_no_numbers_are_the_end() -> None:
    def break_everything(plan: StepPlan, step: int) -> list[int]:
        return [*range(8)] if step >= CHECK_STEPS else []

    async with run_engine(load=lambda: BreakingModel(load_model(), break_everything)) as engine:
        errors = []
        for _ in range(3):
            session = await engine.open_session(SessionOptions())
            await session.push_audio(A_SECOND)
            errors.append((await read_until_error(session))[1])
            session.close()
        assert [type(error) for error in errors[:2]] == [BrokenOutput] * 2
        death = await asyncio.wait_for(engine.wait_for_death(), 5)
        assert "3 outputs of the model in a row" in death.reason
        assert engine.state is State.DEAD


async def test_a_model_that_computes_no_numbers_is_not_served() -> None:
    engine = Engine(lambda: BreakingModel(load_model(), lambda *_: [5]))
    with pytest.raises(UnsuitableCheckpoint, match="1 of 8 outputs for a little noise"):
        await engine.start()
    await engine.stop()


@pytest.mark.parametrize("name", ["model.safetensors", "mimi.safetensors"])
def test_weights_that_are_no_numbers_are_not_loaded(tmp_path: Path, name: str) -> None:
    directory = shutil.copytree(DIGITS_CHECKPOINT, tmp_path / "m")
    weights = load_file(directory / name)
    largest = max(weights, key=lambda key: weights[key].numel())
    weights[largest].view(-1)[weights[largest].numel() // 2] = torch.nan
    save_file(weights, directory / name)
    with pytest.raises(UnsuitableCheckpoint, match=f"{name} is damaged"):
        MoshiModel(str(directory), 1, "cpu", threads=1)
