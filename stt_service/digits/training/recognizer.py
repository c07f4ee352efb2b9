"""Train all that lies behind the encoder's convolutions jointly: Mimi's transformer and quantizer,
and the language model."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportUntypedFunctionDecorator=false, reportPrivateUsage=false

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stt_service.digits.training.batches import Batch, BatchMaker
from stt_service.digits.training.losses import Losses, measure_losses, weigh_text
from stt_service.digits.training.network import (
    JointModel,
    build_model,
    list_codebooks,
    read_text_ids,
)
from stt_service.digits.training.plan import PlanError, TrainingPlan
from stt_service.digits.training.pretraining import load_encoder, pretrain
from stt_service.digits.training.provenance import claim
from stt_service.digits.training.runs import (
    STATE_NAME,
    Run,
    make_optimizer,
    rise_and_fall,
    run_workers,
    update,
)
from stt_service.digits.training.spectrum import SpectrumVarier, Variation
from stt_service.digits.training.stages import ALL_WORDS, DIGITS_FIRST, MUCH_NOISE, Stage
from stt_service.digits.training.windows import Windows, record_windows

_STEPS_WITHOUT_END = 1_000_000
"""More than any run has: seeds of one run are none of another's, batches for the codebooks none of
a step's."""


def train(plans: Sequence[TrainingPlan]) -> None:
    """Run plans, or go on with them where their last saved states end.

    They share encoder and windows. Each runs on one thread, as many side by side as the first says.
    Raises PlanError when a saved state, or what it would be made of, is of another plan.
    """
    for plan in plans:
        claim(plan.run_dir, _describe(plan))
    pretrain(plans[0])
    for stage, count in list_stages(plans[0]).items():
        record_windows(plans[0], stage, count)
    workers = min(plans[0].workers, len(plans))
    run_workers(partial(_train, plans, workers), workers, together=False)


def list_stages(plan: TrainingPlan) -> dict[Stage, int]:
    """The stages that a plan has steps for, and of how many windows each is."""
    stages = [
        (DIGITS_FIRST, plan.digits_first_steps, plan.digits_first_windows),
        (ALL_WORDS, plan.all_words_steps, plan.all_words_windows),
        (MUCH_NOISE, plan.noise_steps, plan.noise_windows),
    ]
    return {stage: windows for stage, steps, windows in stages if steps}


def get_stage(plan: TrainingPlan, step: int) -> Stage:
    """What is heard at a step."""
    if step < plan.digits_first_steps:
        return DIGITS_FIRST
    return ALL_WORDS if step < plan.word_steps else MUCH_NOISE


def get_learning_rate(plan: TrainingPlan, step: int) -> float:
    """Rise, stay, fall to zero; then rise and fall once more, less high, among the noise.

    A longer or shorter run differs only in where the falls begin.
    """
    if step < plan.word_steps:
        return rise_and_fall(
            step,
            steps=plan.word_steps,
            peak=plan.peak_learning_rate,
            warmup_steps=plan.warmup_steps,
            cooldown_steps=plan.cooldown_share * plan.word_steps,
        )
    return rise_and_fall(
        step - plan.word_steps,
        steps=plan.noise_steps,
        peak=plan.noise_learning_rate,
        warmup_steps=plan.warmup_steps,
        cooldown_steps=plan.noise_steps,
    )


class RecognizerRun(Run):
    """A training of its own, on one thread."""

    def __init__(self, plan: TrainingPlan) -> None:
        super().__init__(plan, rank=0, folder=plan.run_dir, total_steps=plan.total_steps)
        ids = read_text_ids(plan.design)
        self.model = build_model(plan.design, seed=plan.seed)
        load_encoder(self.model, plan.encoder_dir)
        self.model.train()
        self.optimizer = make_optimizer(self.model.get_trained_parameters(), plan.weight_decay)
        self.batches = BatchMaker(
            SpectrumVarier(Variation()), ids, self.model.lm.text_initial_token_id
        )
        self.text_weights = weigh_text(self.model.lm.text_card, ids)
        self._codebooks = [
            codebook
            for part in self.model.get_quantizer_parts()
            for codebook in list_codebooks(part)
        ]
        self._stage: Stage | None = None
        self._windows: Windows | None = None

    def take_step(self) -> dict[str, float]:
        # Codes are placed at random, so a run that was resumed must draw as one that was not.
        torch.manual_seed(self.plan.seed * _STEPS_WITHOUT_END + self.step)
        if not self.model.quantizing and self.step >= self.plan.quantize_after_steps:
            self.model.start_quantizing(self._collect_latents())
        return self.learn(self._draw_batch(self.step)).describe()

    def learn(self, batch: Batch) -> Losses:
        """One forward, one backward, one update."""
        prediction = self.model(batch.spectra, batch.text_history)
        losses = measure_losses(prediction, batch, self.text_weights)
        update(
            self.optimizer,
            losses.total,
            learning_rate=get_learning_rate(self.plan, self.step),
            gradient_norm=self.plan.gradient_norm,
        )
        return losses

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

    def _draw_batch(self, number: int) -> Batch:
        rng = np.random.default_rng([self.plan.seed, number])
        return self.batches.draw(rng, self._get_windows(), self.plan.batch)

    def _get_windows(self) -> Windows:
        """Those of the stage that the next step belongs to; one stage at a time is in memory."""
        stage = get_stage(self.plan, self.step)
        if self._windows is None or stage != self._stage:
            self._stage, self._windows = stage, None
            count = list_stages(self.plan)[stage]
            self._windows = Windows.load(self.plan, stage, count)
        return self._windows

    @torch.no_grad()
    def _collect_latents(self) -> torch.Tensor:
        """Latents of other batches, [dimension, frames]."""
        latents: list[torch.Tensor] = []
        while sum(part.shape[1] for part in latents) < self.plan.latent_frames_for_codebooks:
            batch = self._draw_batch(_STEPS_WITHOUT_END + len(latents))
            latents.append(self.model.encode(batch.spectra).transpose(0, 1).flatten(1))
        return torch.cat(latents, dim=1)


def load_trained(design: Path, run_dir: Path) -> JointModel:
    """The model of a run's last saved state, for export.

    Raises PlanError when it has no codes yet.
    """
    state = torch.load(run_dir / STATE_NAME, weights_only=True)
    if not state["quantizing"]:
        raise PlanError(f"the run in {run_dir} was stopped before its codebooks were placed")
    model = build_model(design, seed=0)
    model.load_state_dict(state["model"])
    model.quantizing = True
    return model.eval()


def _describe(plan: TrainingPlan) -> dict[str, object]:
    """What decides the weights."""
    others = {"design", "work_dir", "run_name", "workers", "save_every_steps", "log_every_steps"}
    return {name: value for name, value in asdict(plan).items() if name not in others}


def _train(
    plans: Sequence[TrainingPlan], workers: int, rank: int
) -> Iterable[tuple[int, int, str]]:
    for plan in plans[rank::workers]:
        for done, total, shown in RecognizerRun(plan).go_on():
            yield done, total, f"{plan.run_name}  {shown}"
