"""Trainings that hear windows which convolutions told before: recognizers, and all voices."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from pathlib import Path

import numpy as np

from digits_training.training.batches import Batch
from digits_training.training.joint import JointRun
from digits_training.training.network import JointModel
from digits_training.training.plan import Schedule, TrainingPlan
from digits_training.training.spectrum import SpectrumVarier, Variation
from digits_training.training.stages import Stage
from digits_training.training.windows import Windows


class WindowsRun(JointRun):
    """Hears windows, varied as spectra; the convolutions themselves are not changed. Workers
    average gradients and codebooks."""

    def __init__(
        self,
        plan: TrainingPlan,
        rank: int,
        *,
        folder: Path,
        model: JointModel,
        schedule: Schedule,
        stage: Stage,
        windows: Windows,
        variation: Variation,
    ) -> None:
        """`stage` weighs the losses of all steps."""
        super().__init__(
            plan,
            rank,
            folder=folder,
            total_steps=schedule.steps,
            model=model,
            parameters=model.get_parameters(with_convolutions=False),
        )
        self.windows = windows
        self.varier = SpectrumVarier(variation)
        self._schedule = schedule
        self._stage = stage

    def take_step(self) -> dict[str, float]:
        self.seed_codes()
        self.begin_step()
        batch = self.draw_batch(self.step).share(self.rank, self.plan.workers)
        losses = self.measure(batch, self._stage)
        self.learn(losses.total, self._schedule.get_rate(self.step))
        return losses.describe()

    def begin_step(self) -> None:
        """Do what a step needs before it hears anything."""

    def draw_batch(self, number: int) -> Batch:
        """The batch of this number; it is always the same."""
        rng = np.random.default_rng([self.plan.seed, number])
        return self.batches.draw(rng, self.windows, self.plan.batch, self.varier)
