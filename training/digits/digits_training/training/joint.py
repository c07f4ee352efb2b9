"""What all trainings of the joint model have in common."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportPrivateUsage=false

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from moshi.quantization import core_vq

from digits_training.errors import PlanError
from digits_training.training.batches import Batch, BatchMaker
from digits_training.training.losses import Losses, measure_losses, weigh_pauses, weigh_text
from digits_training.training.network import (
    JointModel,
    build_model,
    list_codebooks,
    read_text_ids,
)
from digits_training.training.plan import TrainingPlan
from digits_training.training.runs import STATE_NAME, Run, make_optimizer, update
from digits_training.training.stages import Stage

STEPS_WITHOUT_END = 1_000_000
"""More than any run has: what is drawn beside the steps has seeds that no step has."""


class JointRun(Run):
    """One worker's share of a training of the joint model, or of a part of it."""

    def __init__(
        self,
        plan: TrainingPlan,
        rank: int,
        *,
        folder: Path,
        total_steps: int,
        model: JointModel,
        parameters: list[torch.nn.Parameter],
    ) -> None:
        super().__init__(plan, rank, folder=folder, total_steps=total_steps)
        ids = read_text_ids(plan.design)
        self.model = model.train()
        self.optimizer = make_optimizer(parameters, plan.weight_decay)
        self.batches = BatchMaker(ids, model.lm.text_initial_token_id)
        self._codebooks = [
            codebook for part in model.get_quantizer_parts() for codebook in list_codebooks(part)
        ]

    def seed_codes(self) -> None:
        """Codes are placed at random, so a run that was resumed must draw as one that was not."""
        torch.manual_seed(self.plan.seed * STEPS_WITHOUT_END + self.step)

    def measure(self, batch: Batch, stage: Stage) -> Losses:
        """One forward."""
        text_weights = weigh_text(
            self.model.lm.text_card, self.batches.ids, padding_weight=stage.padding_weight
        )
        with leave_averaging_to_update():
            prediction = self.model(batch.spectra, batch.text_history)
        pause_weights = weigh_pauses(
            prediction.pause_logits.shape[-1],
            speech_weight=stage.speech_weight,
            shorter_gap_weight=stage.shorter_gap_weight,
        )
        return measure_losses(
            prediction, batch, text_weights=text_weights, pause_weights=pause_weights
        )

    def learn(self, loss: torch.Tensor, learning_rate: float) -> None:
        """One backward, one update of the parameters and of the codebooks."""
        update(
            self.optimizer,
            loss,
            learning_rate=learning_rate,
            gradient_norm=self.plan.gradient_norm,
            buffers=[
                buffer
                for codebook in self._codebooks
                for buffer in (codebook.cluster_usage, codebook.embedding_sum)
            ],
        )

    def get_state(self) -> dict[str, Any]:
        return {
            "quantizing": self.model.quantizing,
            "steps_to_check": [codebook._next_unused_check for codebook in self._codebooks],
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.model.quantizing = state["quantizing"]
        for codebook, steps in zip(self._codebooks, state["steps_to_check"], strict=True):
            codebook._next_unused_check = steps
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


@contextmanager
def leave_averaging_to_update() -> Generator[None]:
    """Keep moshi from averaging the codebooks over the workers.

    It would average its growing list of them, 1 + 2 + ... + 7 times at each forward.
    """
    averaging = core_vq._average_tensors
    core_vq._average_tensors = lambda tensors: None
    try:
        yield
    finally:
        core_vq._average_tensors = averaging


def load_trained(design: Path, folder: Path) -> JointModel:
    """The model of a run's last saved state.

    Raises PlanError when there is none, or it has no codes yet.
    """
    if not (folder / STATE_NAME).exists():
        raise PlanError(f"{folder} holds no trained state; run `train` first")
    state = torch.load(folder / STATE_NAME, weights_only=True)
    if not state["quantizing"]:
        raise PlanError(f"the run in {folder} was stopped before its codebooks were placed")
    model = build_model(design, seed=0)
    model.load_state_dict(state["model"])
    model.quantizing = True
    return model.eval()
