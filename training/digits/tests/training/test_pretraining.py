from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from digits_training.errors import PlanError
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.plan import Schedule, TrainingPlan
from digits_training.training.pretraining import EncoderRun, pretrain
from digits_training.training.runs import STATE_NAME

from .steps import go_until, take_steps


def test_teaching_the_encoder_goes_on_where_it_stopped(plan: TrainingPlan, tmp_path: Path) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    stopped = replace(plan, work_dir=tmp_path, save_every_steps=1)
    go_until(EncoderRun(stopped, rank=0), 2)
    again = take_steps(EncoderRun(stopped, rank=0))["encoder"]
    whole = torch.load(plan.encoder_dir / STATE_NAME, weights_only=True)["encoder"]
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)


def test_humans_do_not_teach_the_encoder(plan: TrainingPlan) -> None:
    examples = EncoderRun(plan, rank=0).examples.make(0, count=40, frames=25)
    assert frozenset[str]().union(*(example.voices for example in examples)) == {"robot"}


def test_an_encoder_of_another_plan_is_refused(plan: TrainingPlan) -> None:
    with pytest.raises(PlanError, match="encoder was begun with another --seed;"):
        pretrain(replace(plan, seed=2))
    with pytest.raises(PlanError, match="encoder was begun with another --workers;"):
        pretrain(replace(plan, workers=2))


def test_teaching_the_encoder_lowers_its_error(plan: TrainingPlan, tmp_path: Path) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    steps = Schedule(40, peak=3e-3, warmup_steps=1, cooldown_share=0.7)
    run = EncoderRun(replace(plan, work_dir=tmp_path, encoder=steps), rank=0)
    errors: list[float] = []
    for run.step in range(40):
        errors.append(run.take_step()["error"])
    assert np.mean(errors[-5:]) < 0.8 * np.mean(errors[:5])
