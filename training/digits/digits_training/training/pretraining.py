"""Teach the encoder's convolutions the spectrum of sounds, before any word is known.

They learn it from synthetic voices, noise and music: what a human voice is like does not reach
them until fine-tuning, so they treat a voice that they have not heard like any other.
"""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from digits_training.provenance import claim, fingerprint
from digits_training.sound.clips import ClipBank
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.examples import ExampleMaker, stack_audio
from digits_training.training.network import JointModel, build_model, read_text_ids
from digits_training.training.plan import TrainingPlan
from digits_training.training.runs import (
    STATE_NAME,
    Run,
    make_optimizer,
    run_workers,
    update,
)
from digits_training.training.spectrum import measure_spectrum
from digits_training.training.stages import PRETRAINING


def pretrain(plan: TrainingPlan) -> None:
    """Train the encoder's convolutions, or go on where plan.encoder_dir's saved state ends.

    Raises PlanError when that state is of another plan or bank.
    """
    claim(
        plan.encoder_dir,
        {
            "bank": fingerprint(plan.work_dir / TRAINING_BANK),
            "stage": PRETRAINING,
            "schedule (--encoder-steps)": plan.encoder,
            "--seed": plan.seed,
            "--workers": plan.workers,
            "batch": plan.batch,
            "frames": plan.frames,
            "gradient norm": plan.gradient_norm,
        },
    )
    run_workers(partial(_pretrain, plan), plan.workers)


def load_encoder(model: JointModel, encoder_dir: Path) -> None:
    """Give a model the convolutions that were pretrained."""
    state = torch.load(encoder_dir / STATE_NAME, weights_only=True)
    model.mimi.encoder.load_state_dict(state["encoder"])


class EncoderRun(Run):
    """Minimizes the squared error of the spectrum."""

    def __init__(self, plan: TrainingPlan, rank: int) -> None:
        super().__init__(plan, rank, folder=plan.encoder_dir, total_steps=plan.encoder.steps)
        bank = ClipBank.load(plan.work_dir / TRAINING_BANK).filter(lambda clip: not clip.human)
        self.examples = ExampleMaker(bank, read_text_ids(plan.design), PRETRAINING, seed=plan.seed)
        self.model = build_model(plan.design, seed=plan.seed)
        self.optimizer = make_optimizer(list(self.model.mimi.encoder.parameters()), 0.0)

    def take_step(self) -> dict[str, float]:
        plan = self.plan
        examples = self.examples.make(
            self.step * plan.workers + self.rank,
            count=plan.batch_per_worker,
            frames=plan.frames,
        )
        audio = stack_audio(examples)
        spectrum = measure_spectrum(audio)
        error = (self.model.tell_spectrum(audio) - spectrum).square().mean()
        update(
            self.optimizer,
            error,
            learning_rate=plan.encoder.get_rate(self.step),
            gradient_norm=plan.gradient_norm,
        )
        explained = 1 - error.item() / spectrum.var().item()
        return {"error": error.item(), "explained": explained}

    def get_state(self) -> dict[str, Any]:
        return {
            "encoder": self.model.mimi.encoder.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.model.mimi.encoder.load_state_dict(state["encoder"])
        self.optimizer.load_state_dict(state["optimizer"])


def _pretrain(plan: TrainingPlan, rank: int) -> Iterable[tuple[int, int, str]]:
    return EncoderRun(plan, rank).go_on()
