"""Train all that lies behind the encoder's convolutions jointly: Mimi's transformer and quantizer,
and the language model."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportUntypedFunctionDecorator=false

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch

from digits_training.provenance import PROVENANCE_NAME, claim, fingerprint
from digits_training.training.joint import STEPS_WITHOUT_END
from digits_training.training.network import build_model
from digits_training.training.plan import TrainingPlan
from digits_training.training.pretraining import load_encoder, pretrain
from digits_training.training.runs import run_workers
from digits_training.training.spectrum import Variation
from digits_training.training.stages import DIGITS_FIRST
from digits_training.training.windows import Windows, record_windows
from digits_training.training.windows_run import WindowsRun


def train_recognizers(plans: Sequence[TrainingPlan]) -> None:
    """Run plans, or go on with them where their last saved states end.

    They share encoder and windows. The workers share the batches of a plan that is alone; of more
    plans each runs on one thread, as many side by side as the first says.
    Raises PlanError when a saved state, or what it would be made of, is of another plan.
    """
    pretrain(plans[0])
    record_windows(plans[0])
    workers = plans[0].workers
    side_by_side = len(plans) > 1
    if side_by_side:
        plans = [replace(plan, workers=1) for plan in plans]
    for plan in plans:
        claim(plan.recognizer_dir, _describe(plan))
    if side_by_side:
        run_workers(partial(_train_some, plans, workers), workers, together=False)
    else:
        run_workers(partial(_train, plans[0]), workers)


class RecognizerRun(WindowsRun):
    """Hears what the pretrained encoder told; the codebooks are placed on the way."""

    def __init__(self, plan: TrainingPlan, rank: int) -> None:
        model = build_model(plan.design, seed=plan.seed)
        load_encoder(model, plan.encoder_dir)
        super().__init__(
            plan,
            rank,
            folder=plan.recognizer_dir,
            model=model,
            schedule=plan.recognizer,
            stage=DIGITS_FIRST,
            windows=Windows.load(plan),
            variation=Variation(),
        )

    def begin_step(self) -> None:
        if not self.model.quantizing and self.step >= self.plan.quantize_after_steps:
            self.model.start_quantizing(self._collect_latents())

    @torch.no_grad()
    def _collect_latents(self) -> torch.Tensor:
        """Latents of other batches, [dimension, frames]."""
        latents: list[torch.Tensor] = []
        while sum(part.shape[1] for part in latents) < self.plan.latent_frames_for_codebooks:
            batch = self.draw_batch(STEPS_WITHOUT_END + len(latents))
            latents.append(self.model.encode(batch.spectra).transpose(0, 1).flatten(1))
        return torch.cat(latents, dim=1)


def _describe(plan: TrainingPlan) -> dict[str, object]:
    """What decides the weights, beside the code."""
    return {
        "windows": fingerprint(plan.windows_dir / PROVENANCE_NAME),
        "number of windows": plan.recognizer_windows,
        "padding and speech weights": (DIGITS_FIRST.padding_weight, DIGITS_FIRST.speech_weight),
        "schedule (--recognizer-steps)": plan.recognizer,
        "voice that is left out": plan.left_out_voice,
        "--seed": plan.seed,
        "batch": plan.batch,
        "workers that share it (--workers)": plan.workers,
        "weight decay": plan.weight_decay,
        "gradient norm": plan.gradient_norm,
        "quantize after": plan.quantize_after_steps,
        "latent frames": plan.latent_frames_for_codebooks,
    }


def _train(plan: TrainingPlan, rank: int) -> Iterable[tuple[int, int, str]]:
    return RecognizerRun(plan, rank).go_on()


def _train_some(
    plans: Sequence[TrainingPlan], workers: int, rank: int
) -> Iterable[tuple[int, int, str]]:
    """One worker's share of plans that run side by side."""
    for plan in plans[rank::workers]:
        for done, total, shown in RecognizerRun(plan, rank=0).go_on():
            yield done, total, f"{plan.recognizer_name}  {shown}"
