"""Taking the steps of a run by hand."""

from collections.abc import Iterable
from typing import Any

import torch

from digits_training.training.finetuning import FineTuningRun
from digits_training.training.joint import JointRun
from digits_training.training.plan import TrainingPlan
from digits_training.training.recognizer import RecognizerRun
from digits_training.training.runs import Run


def take_steps(run: Run) -> dict[str, Any]:
    """All that are left; returns the state after them."""
    for _ in run.go_on():
        pass
    return run.get_state()


def go_until(run: Run, step: int) -> None:
    """Stop after so many steps."""
    steps = iter(run.go_on())
    while run.step < step:
        next(steps)


def train_and_keep(plan: TrainingPlan, rank: int) -> Iterable[tuple[int, int, str]]:
    """One worker's share of a recognizer's training; see _keep."""
    return _keep(RecognizerRun(plan, rank))


def fine_tune_and_keep(plan: TrainingPlan, rank: int) -> Iterable[tuple[int, int, str]]:
    """One worker's share of a fine-tuning; see _keep."""
    return _keep(FineTuningRun(plan, rank))


def _keep(run: JointRun) -> Iterable[tuple[int, int, str]]:
    """Take the steps; each worker writes the model it ends with, as rank-N.pt."""
    yield from run.go_on()
    torch.save(run.get_state()["model"], run.plan.work_dir / f"rank-{run.rank}.pt")
