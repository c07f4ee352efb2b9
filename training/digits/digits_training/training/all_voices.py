"""Train a finished checkpoint further on many more voices, its encoder's convolutions as they are.

What they tell of the windows is kept on disk, as for a recognizer, and varied as spectra are.
"""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUntypedFunctionDecorator=false

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from torch import nn

from digits_training.provenance import claim, fingerprint
from digits_training.sound.new_voices import NEW_VOICES_BANK
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.network import (
    LM_WEIGHTS_NAME,
    MIMI_WEIGHTS_NAME,
    JointModel,
    build_model,
    iterate_codebooks,
    list_codebooks,
)
from digits_training.training.plan import TrainingPlan
from digits_training.training.runs import run_workers
from digits_training.training.spectrum import Variation
from digits_training.training.stages import VOICES, VOICES_IN_NOISE
from digits_training.training.windows import Recipe, Windows, record
from digits_training.training.windows_run import WindowsRun

_STAGES = (VOICES, VOICES_IN_NOISE)
"""Of the parts of the windows, by turns."""

_VARIATION = Variation(equalizer_db=6.0, warp=0.15)
"""More of it than for a recognizer: most voices that will be heard are not among these."""


def train_on_all_voices(plan: TrainingPlan, checkpoint: Path) -> None:
    """Go on from a checkpoint folder, or where the last saved state of this ends.

    Raises PlanError when that state, or its windows, are of another plan, bank or checkpoint.
    """
    start = {name: fingerprint(checkpoint / name) for name in (MIMI_WEIGHTS_NAME, LM_WEIGHTS_NAME)}
    banks = tuple(plan.work_dir / name for name in (TRAINING_BANK, NEW_VOICES_BANK))
    record(
        plan,
        Recipe(
            folder=plan.voices_windows_dir,
            windows=plan.voices_windows,
            stages=_STAGES,
            banks=banks,
            load_model=partial(load_checkpoint, plan.design, checkpoint),
            made_of={"encoder": start[MIMI_WEIGHTS_NAME], "stages": _STAGES},
        ),
    )
    claim(
        plan.voices_dir,
        {
            "checkpoint": start,
            "banks": [fingerprint(path) for path in banks],
            "number of windows": plan.voices_windows,
            "schedule (--voices-steps)": plan.voices,
            "weights of padding, speech and shorter gaps": (
                VOICES.padding_weight,
                VOICES.speech_weight,
                VOICES.shorter_gap_weight,
            ),
            "variation": _VARIATION,
            "--seed": plan.seed,
            "--workers": plan.workers,
            "batch": plan.batch,
            "weight decay": plan.weight_decay,
            "gradient norm": plan.gradient_norm,
        },
    )
    run_workers(partial(_train, plan, checkpoint), plan.workers)


class VoicesRun(WindowsRun):
    """Hears what the checkpoint's encoder told."""

    def __init__(self, plan: TrainingPlan, checkpoint: Path, rank: int) -> None:
        super().__init__(
            plan,
            rank,
            folder=plan.voices_dir,
            model=load_checkpoint(plan.design, checkpoint),
            schedule=plan.voices,
            stage=VOICES,
            windows=Windows.read(
                plan.voices_windows_dir, plan.voices_windows, per_part=plan.windows_per_part
            ),
            variation=_VARIATION,
        )


def load_checkpoint(design: Path, checkpoint: Path) -> JointModel:
    """A model as `export_checkpoint` wrote it, to be trained on.

    The map that was folded into the language model's tables is what their codes and they agree on.
    The states, which the training asks for and no checkpoint keeps, are told from nothing yet.
    """
    model = build_model(design, seed=0)
    model.mimi.load_state_dict(load_file(checkpoint / MIMI_WEIGHTS_NAME))
    model.lm.load_state_dict(load_file(checkpoint / LM_WEIGHTS_NAME))
    _unfold_tables(model)
    nn.init.zeros_(model.tell_state.weight)
    nn.init.zeros_(model.tell_state.bias)
    model.quantizing = True
    return model


@torch.no_grad()
def _unfold_tables(model: JointModel) -> None:
    """Solve table[code] = hear · projection · codebook[code] for hear; see fold_tables."""
    heard: list[torch.Tensor] = []
    told: list[torch.Tensor] = []
    for table, (codebook, projection) in zip(model.lm.emb, iterate_codebooks(model), strict=True):
        heard.append(codebook @ projection.T)
        told.append(cast(torch.Tensor, table.weight)[: len(codebook)])
    solution = torch.linalg.lstsq(
        torch.cat(heard).double(), torch.cat(told).double(), driver="gelsd"
    )
    model.hear.weight.copy_(solution.solution.T)
    for part in model.get_quantizer_parts():
        for codebook in list_codebooks(part):
            # What it remembers of its codes would outlive those that a saved state brings.
            codebook.register_buffer("_embedding", None, persistent=False)


def _train(plan: TrainingPlan, checkpoint: Path, rank: int) -> Iterable[tuple[int, int, str]]:
    return VoicesRun(plan, checkpoint, rank).go_on()
