from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from digits_training.__main__ import DESIGN
from digits_training.errors import PlanError
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.joint import load_trained
from digits_training.training.plan import Schedule, TrainingPlan
from digits_training.training.pretraining import pretrain
from digits_training.training.recognizer import RecognizerRun, train_recognizers
from digits_training.training.runs import LOG_NAME, STATE_NAME, run_workers
from digits_training.training.stages import DIGITS_FIRST

from .steps import go_until, take_steps, train_and_keep


def test_training_again_gives_the_same_weights(plan: TrainingPlan) -> None:
    whole = torch.load(plan.recognizer_dir / STATE_NAME, weights_only=True)["model"]
    run = RecognizerRun(replace(plan, recognizer_name="again"), rank=0)
    again = take_steps(run)["model"]
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)


def test_a_run_that_was_stopped_gives_the_same_weights(plan: TrainingPlan) -> None:
    whole = torch.load(plan.recognizer_dir / STATE_NAME, weights_only=True)["model"]
    stopped = replace(plan, recognizer_name="stopped")
    go_until(RecognizerRun(stopped, rank=0), 3)
    resumed = RecognizerRun(stopped, rank=0)
    again = take_steps(resumed)["model"]
    assert resumed.model.quantizing
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)
    assert load_trained(DESIGN, stopped.recognizer_dir).quantizing


def test_training_leaves_the_encoder_as_it_was_taught(plan: TrainingPlan) -> None:
    taught = torch.load(plan.encoder_dir / STATE_NAME, weights_only=True)["encoder"]
    trained = load_trained(DESIGN, plan.recognizer_dir)
    for name, tensor in trained.mimi.encoder.state_dict().items():
        assert torch.equal(tensor, taught[name]), name


def test_a_run_of_another_plan_is_refused(plan: TrainingPlan) -> None:
    other = replace(plan, recognizer=replace(plan.recognizer, steps=5))
    with pytest.raises(PlanError, match="recognizer was begun with another schedule"):
        train_recognizers([other])


def test_a_run_without_codes_is_not_exported(plan: TrainingPlan) -> None:
    early = replace(plan, recognizer_name="early", save_every_steps=1)
    go_until(RecognizerRun(early, rank=0), 1)
    with pytest.raises(PlanError, match="before its codebooks"):
        load_trained(DESIGN, early.recognizer_dir)


def test_steps_lower_the_loss_on_a_batch(plan: TrainingPlan) -> None:
    steps = Schedule(50, peak=3e-3, warmup_steps=1, cooldown_share=0.7)
    lower = replace(plan, recognizer_name="lower", recognizer=steps)
    run = RecognizerRun(lower, rank=0)
    batch = run.batches.draw(np.random.default_rng(0), run.windows, 2, run.varier)
    totals: list[float] = []
    for run.step in range(5):
        losses = run.measure(batch, DIGITS_FIRST)
        run.learn(losses.total, steps.get_rate(run.step))
        totals.append(losses.describe()["total"])
    assert totals[-1] < 0.9 * totals[0]


@pytest.mark.slow
def test_two_workers_teach_an_encoder_and_train_side_by_side(
    plan: TrainingPlan, tmp_path: Path
) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    plan = replace(plan, work_dir=tmp_path, workers=2, log_every_steps=1)
    pretrain(plan)
    runs = [replace(plan, recognizer_name=name) for name in ("a", "b", "c")]
    train_recognizers(runs)
    folders = [plan.encoder_dir, *(run.recognizer_dir for run in runs)]
    for folder, steps in zip(folders, [3, 4, 4, 4], strict=True):
        assert torch.load(folder / STATE_NAME, weights_only=True)["step"] == steps
        assert len((folder / LOG_NAME).read_text().splitlines()) == steps


@pytest.mark.slow
def test_two_workers_share_the_batches_of_one_recognizer(plan: TrainingPlan) -> None:
    """Each hears half of a batch; gradients and codebooks are averaged at each step."""
    shared = replace(plan, recognizer_name="shared", workers=2)
    run_workers(partial(train_and_keep, shared), 2)
    first, second = (torch.load(shared.work_dir / f"rank-{rank}.pt") for rank in (0, 1))
    alone = load_trained(DESIGN, plan.recognizer_dir).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert any(not torch.equal(tensor, first[name]) for name, tensor in alone.items())


def test_the_shares_of_a_batch_are_the_batch(plan: TrainingPlan) -> None:
    run = RecognizerRun(replace(plan, recognizer_name="whole"), rank=0)
    batch = run.batches.draw(np.random.default_rng(0), run.windows, 4, run.varier)
    shares = [batch.share(rank, 2) for rank in (0, 1)]
    for name, whole in vars(batch).items():
        parts = torch.stack([getattr(share, name) for share in shares], dim=1)
        assert torch.equal(parts.flatten(0, 1), whole), name
