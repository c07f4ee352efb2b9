"""Windows as the encoder tells them, on disk: rendered once, and heard by every run."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportUntypedFunctionDecorator=false

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from stt_service.digits.sound.clips import ClipBank
from stt_service.digits.sound.preparation import TRAINING_BANK
from stt_service.digits.training.examples import Example, ExampleMaker
from stt_service.digits.training.network import JointModel, build_model, read_text_ids
from stt_service.digits.training.plan import TrainingPlan
from stt_service.digits.training.pretraining import load_encoder
from stt_service.digits.training.provenance import claim, fingerprint
from stt_service.digits.training.runs import STATE_NAME, run_workers
from stt_service.digits.training.stages import Stage

_WINDOWS_AT_ONCE = 8

IntArray: TypeAlias = npt.NDArray[np.int64]
HalfArray: TypeAlias = npt.NDArray[np.float16]


def record_windows(plan: TrainingPlan, stage: Stage, count: int) -> None:
    """Write that many windows of a stage, in parts; a part that is there already is kept.

    Raises PlanError when those that are there are of another encoder, bank or stage.
    """
    claim(
        plan.windows_dir / stage.name,
        {
            "bank": fingerprint(plan.work_dir / TRAINING_BANK),
            "encoder": fingerprint(plan.encoder_dir / STATE_NAME),
            "stage": stage,
            "--seed": plan.seed,
            "frames": plan.frames,
            "windows in a part": plan.windows_per_part,
        },
    )
    run_workers(partial(_record, plan, stage, count), plan.workers, together=False)


@dataclass(frozen=True)
class Windows:
    """Windows of one stage, in memory."""

    spectra: HalfArray  # [windows, channels, steps]
    text: IntArray  # [windows, frames]
    pauses: IntArray  # [windows, heads, frames]
    states: IntArray  # [windows, frames]

    @classmethod
    def load(cls, plan: TrainingPlan, stage: Stage, count: int) -> "Windows":
        """The first so many windows, less those in which the voice that is left out is heard.

        The others are as they were: no window is made in the place of one that is left out.

        Raises FileNotFoundError when they have not been recorded.
        """
        parts: list[Windows] = []
        for number in range(_count_parts(plan, count)):
            with np.load(_get_path(plan, stage, number)) as part:
                first = number * plan.windows_per_part
                voices = json.loads(str(part["voices"]))[: count - first]
                kept = [n for n, heard in enumerate(voices) if plan.left_out_voice not in heard]
                arrays = (part[name][kept] for name in ("spectra", "text", "pauses", "states"))
                spectra, *targets = arrays
                parts.append(cls(spectra, *(target.astype(np.int64) for target in targets)))
        return cls(
            spectra=np.concatenate([part.spectra for part in parts]),
            text=np.concatenate([part.text for part in parts]),
            pauses=np.concatenate([part.pauses for part in parts]),
            states=np.concatenate([part.states for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.text)


def _count_parts(plan: TrainingPlan, windows: int) -> int:
    return math.ceil(windows / plan.windows_per_part)


def _get_path(plan: TrainingPlan, stage: Stage, part: int) -> Path:
    return plan.windows_dir / stage.name / f"{part:04}.npz"


def _record(
    plan: TrainingPlan, stage: Stage, count: int, rank: int
) -> Iterable[tuple[int, int, str]]:
    numbers = range(rank, _count_parts(plan, count), plan.workers)
    paths = {number: _get_path(plan, stage, number) for number in numbers}
    missing = {number: path for number, path in paths.items() if not path.exists()}
    if not missing:
        return
    model = build_model(plan.design, seed=plan.seed)
    load_encoder(model, plan.encoder_dir)
    bank = ClipBank.load(plan.work_dir / TRAINING_BANK)
    maker = ExampleMaker(bank, read_text_ids(plan.design), stage, seed=plan.seed)
    groups = plan.windows_per_part // _WINDOWS_AT_ONCE
    for done, (number, path) in enumerate(missing.items()):
        yield done, len(missing), f"Windows, {stage.name}"
        examples: list[Example] = []
        spectra: list[HalfArray] = []
        for group in range(number * groups, (number + 1) * groups):
            made = maker.make(group, count=_WINDOWS_AT_ONCE, frames=plan.frames)
            spectra.append(_tell_spectra(model, made))
            examples += made
        _write(path, np.concatenate(spectra), examples)
    yield len(missing), len(missing), f"Windows, {stage.name}"


@torch.no_grad()
def _tell_spectra(model: JointModel, examples: list[Example]) -> HalfArray:
    audio = torch.stack([example.audio for example in examples])
    return model.tell_spectrum(audio).numpy().astype(np.float16)


def _write(path: Path, spectra: HalfArray, examples: list[Example]) -> None:
    """A reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".partial.npz")
    np.savez(
        unfinished,
        spectra=spectra,
        text=np.stack([example.targets.text for example in examples]).astype(np.int8),
        pauses=np.stack([example.targets.pauses for example in examples]).astype(np.int8),
        states=np.stack([example.targets.states for example in examples]).astype(np.int8),
        voices=np.array(json.dumps([sorted(example.voices) for example in examples])),
    )
    unfinished.replace(path)
