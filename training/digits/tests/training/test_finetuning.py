import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from digits_training.__main__ import DESIGN
from digits_training.errors import PlanError
from digits_training.training.finetuning import (
    FineTuningRun,
    fine_tune,
    get_learning_rate,
    get_stage,
)
from digits_training.training.joint import load_trained
from digits_training.training.plan import Schedule, TrainingPlan
from digits_training.training.runs import LOG_NAME, STATE_NAME, run_workers
from digits_training.training.stages import ALL_WORDS, MUCH_NOISE

from .steps import fine_tune_and_keep, go_until, take_steps


@pytest.fixture
def begun(plan: TrainingPlan, tmp_path: Path) -> TrainingPlan:
    """In a folder of its own, with everything before it done."""
    shutil.copytree(plan.work_dir, tmp_path, dirs_exist_ok=True)
    return replace(plan, work_dir=tmp_path)


def test_it_changes_the_convolutions_too(begun: TrainingPlan) -> None:
    fine_tune(begun)
    before = load_trained(DESIGN, begun.recognizer_dir).state_dict()
    after = load_trained(DESIGN, begun.fine_tuned_dir).state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert any(name.startswith("mimi.encoder.") for name in changed)
    assert any(name.startswith("lm.") for name in changed)
    assert not any(name.startswith("mimi.decoder") for name in changed)


def forget_codes(plan: TrainingPlan) -> None:
    """As if nothing had been near some codes for long: moshi places them anew in the fifth step."""
    state = torch.load(plan.recognizer_dir / STATE_NAME, weights_only=True)
    for name, tensor in state["model"].items():
        if name.endswith("_codebook.cluster_usage"):
            tensor[:100] = 1e-3
    torch.save(state, plan.recognizer_dir / STATE_NAME)


def test_stopping_it_gives_the_same_weights(begun: TrainingPlan) -> None:
    forget_codes(begun)
    begun = replace(begun, all_words=replace(begun.all_words, steps=6))
    whole = take_steps(FineTuningRun(begun, rank=0))["model"]
    shutil.rmtree(begun.fine_tuned_dir)
    stopped = replace(begun, save_every_steps=1)
    go_until(FineTuningRun(stopped, rank=0), 4)
    resumed = FineTuningRun(stopped, rank=0)
    torch.manual_seed(7)  # Whatever was drawn before.
    again = take_steps(resumed)["model"]
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)


def test_it_keeps_the_spectrum(begun: TrainingPlan) -> None:
    """Though it is a small part of the loss, the error of the spectrum falls."""
    steps = Schedule(30, peak=3e-3, warmup_steps=1, cooldown_share=0.7)
    run = FineTuningRun(replace(begun, all_words=steps, batch=8), rank=0)
    errors: list[float] = []
    for run.step in range(30):
        errors.append(run.take_step()["spectrum"])
    assert sum(errors[-5:]) < 0.8 * sum(errors[:5])


def test_what_was_begun_from_another_recognizer_is_refused(begun: TrainingPlan) -> None:
    fine_tune(begun)
    state = torch.load(begun.recognizer_dir / STATE_NAME, weights_only=True)
    state["model"]["lm.out_norm.alpha"] += 1
    torch.save(state, begun.recognizer_dir / STATE_NAME)
    with pytest.raises(PlanError, match="fine-tuned was begun with another recognizer;"):
        fine_tune(begun)


@pytest.mark.slow
def test_two_workers_share_it(begun: TrainingPlan) -> None:
    fine_tune(replace(begun, workers=2, log_every_steps=1))
    assert load_trained(DESIGN, begun.fine_tuned_dir).quantizing
    assert len((begun.fine_tuned_dir / LOG_NAME).read_text().splitlines()) == 3


@pytest.mark.slow
def test_two_workers_end_with_one_model(begun: TrainingPlan) -> None:
    """Though each hears other windows: gradients and codebooks are averaged at each step."""
    run_workers(partial(fine_tune_and_keep, replace(begun, workers=2)), 2)
    first, second = (torch.load(begun.work_dir / f"rank-{rank}.pt") for rank in (0, 1))
    before = load_trained(DESIGN, begun.recognizer_dir).state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, first[name])}
    assert any(name.endswith("_codebook.embedding_sum") for name in changed)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_the_noise_comes_last_with_a_rise_and_fall_of_its_own(plan: TrainingPlan) -> None:
    long = replace(
        plan,
        all_words=Schedule(600, peak=2e-3, warmup_steps=100, cooldown_share=0.5),
        noise=Schedule(400, peak=1e-3, warmup_steps=100, cooldown_share=1.0),
    )
    stages = [get_stage(long, step) for step in range(1_000)]
    assert stages == [ALL_WORDS] * 600 + [MUCH_NOISE] * 400
    rates = [get_learning_rate(long, step) for step in range(1_000)]
    assert max(rates[:600]) == 2e-3
    assert rates[599] < 0.01 * 2e-3
    assert 0.7 * 1e-3 < max(rates[600:]) <= 1e-3
