from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stt_service.digits.__main__ import DESIGN
from stt_service.digits.clips import ClipBank
from stt_service.digits.plan import TrainingPlan
from stt_service.digits.stages import ALL_WORDS, DIGITS_FIRST, MUCH_NOISE
from stt_service.digits.training import (
    STATE_NAME,
    Trainer,
    get_learning_rate,
    get_stage,
    load_trained,
    train,
)


@pytest.fixture
def plan(bank: ClipBank, tmp_path: Path) -> TrainingPlan:
    """Four short steps, the last two with codes."""
    bank.save(tmp_path / "bank.npz")
    return TrainingPlan(
        design=DESIGN,
        bank=tmp_path / "bank.npz",
        run_dir=tmp_path,
        steps=4,
        noise_steps=0,
        workers=1,
        batch_per_worker=2,
        frames=25,
        quantize_after_steps=2,
        latent_frames_for_codebooks=600,
        save_every_steps=3,
    )


def run(plan: TrainingPlan) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    trainer = Trainer(plan, rank=0)
    trainer.resume()
    for _ in trainer.run():
        pass
    return trainer.model.state_dict()


@pytest.mark.slow
def test_training_again_gives_the_same_weights(plan: TrainingPlan, tmp_path: Path) -> None:
    plans = [replace(plan, run_dir=tmp_path / name) for name in "ab"]
    for one in plans:
        one.run_dir.mkdir()
    first, second = (run(one) for one in plans)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, msg=name)


def test_a_run_goes_on_where_it_stopped(plan: TrainingPlan) -> None:
    torch.manual_seed(0)
    trainer = Trainer(plan, rank=0)
    for _ in trainer.run():
        if trainer.step == 3:
            break
    resumed = Trainer(plan, rank=0)
    resumed.resume()
    assert resumed.step == 3
    assert resumed.model.quantizing
    assert len(list(resumed.run())) == 1
    assert load_trained(DESIGN, plan.run_dir / STATE_NAME).quantizing


def test_steps_lower_the_loss_on_a_batch(plan: TrainingPlan) -> None:
    trainer = Trainer(replace(plan, start_from=DESIGN, warmup_steps=1, steps=50), rank=0)
    batch = trainer.examples.make_batch(0, 0, size=2, frames=25)
    losses = [float(trainer.take_step(batch).total.detach()) for _ in range(5)]
    assert losses[-1] < 0.9 * losses[0]


def test_a_left_out_voice_is_not_heard(plan: TrainingPlan) -> None:
    trainer = Trainer(replace(plan, left_out_voice="ada"), rank=0)
    assert trainer.bank.get_voices(human=True) == ["bob"]


@pytest.mark.slow
def test_two_workers_train_together_and_leave_a_state_and_a_log(plan: TrainingPlan) -> None:
    plan = replace(plan, noise_steps=1, workers=2, log_every_steps=1)
    train(plan)
    state = torch.load(plan.run_dir / STATE_NAME, weights_only=True)
    assert state["step"] == plan.total_steps
    assert len((plan.run_dir / "log.jsonl").read_text().splitlines()) == plan.total_steps


def test_the_learning_rate_rises_stays_and_falls_to_nothing(plan: TrainingPlan) -> None:
    long = replace(plan, steps=1_000, warmup_steps=100, cooldown_share=0.3)
    rates = [get_learning_rate(long, step) for step in range(long.steps)]
    assert rates[0] < 0.02 * long.peak_learning_rate
    assert set(rates[100:700]) == {long.peak_learning_rate}
    assert rates[-1] < 0.01 * long.peak_learning_rate


def test_the_learning_rate_rises_once_more_for_the_noise(plan: TrainingPlan) -> None:
    long = replace(plan, steps=1_000, noise_steps=500, warmup_steps=100)
    rates = [get_learning_rate(long, step) for step in range(long.steps, long.total_steps)]
    assert rates[0] < 0.02 * long.noise_learning_rate
    assert 0.7 * long.noise_learning_rate < max(rates) <= long.noise_learning_rate
    assert rates[-1] < 0.01 * long.noise_learning_rate


def test_digits_come_first_and_the_noise_last(plan: TrainingPlan) -> None:
    long = replace(plan, digits_first_steps=2, steps=4, noise_steps=2)
    stages = [get_stage(long, step) for step in range(long.total_steps)]
    assert stages == [DIGITS_FIRST] * 2 + [ALL_WORDS] * 2 + [MUCH_NOISE] * 2
