"""Windows as the encoder tells them, on disk: rendered once, and heard by every recognizer."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportUntypedFunctionDecorator=false

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from digits_training.provenance import claim, fingerprint
from digits_training.sound.clips import ClipBank
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.examples import Example, ExampleMaker, stack_audio
from digits_training.training.network import JointModel, build_model, read_text_ids
from digits_training.training.plan import TrainingPlan
from digits_training.training.pretraining import load_encoder
from digits_training.training.runs import STATE_NAME, run_workers
from digits_training.training.stages import DIGITS_FIRST, Stage
from digits_training.training.targets import Targets

_WINDOWS_AT_ONCE = 8
_ARRAYS = ("spectra", "text", "pauses", "states")

HalfArray: TypeAlias = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Recipe:
    """Windows that are wanted: where, how many, and what they are made of."""

    folder: Path
    windows: int
    stages: tuple[Stage, ...]
    """What is heard in the parts, by turns."""
    banks: tuple[Path, ...]
    load_model: Callable[[], JointModel]
    """Whose convolutions tell the sounds. Is pickled."""
    made_of: Mapping[str, object]
    """Says beside the banks what the files depend on."""


def record_windows(plan: TrainingPlan) -> None:
    """Write the windows that recognizers hear; see record."""
    record(plan, _make_recipe(plan))


def record(plan: TrainingPlan, recipe: Recipe) -> None:
    """Write windows in parts; a part that is there already is kept.

    Raises PlanError when those that are there are of another encoder, bank or stage.
    """
    banks = {f"bank {path.stem}": fingerprint(path) for path in recipe.banks}
    sizes = {"frames": plan.frames, "windows in a part": plan.windows_per_part}
    claim(recipe.folder, banks | dict(recipe.made_of) | sizes | {"--seed": plan.seed})
    parts = range(_count_parts(recipe.windows, plan.windows_per_part))
    missing = [n for n in parts if not _get_path(recipe.folder, n).exists()]
    if missing:
        run_workers(partial(_record, plan, recipe, missing), plan.workers, together=False)


def _make_recipe(plan: TrainingPlan) -> Recipe:
    return Recipe(
        folder=plan.windows_dir,
        windows=plan.recognizer_windows,
        stages=(DIGITS_FIRST,),
        banks=(plan.work_dir / TRAINING_BANK,),
        load_model=partial(_load_pretrained, plan),
        made_of={
            "encoder": fingerprint(plan.encoder_dir / STATE_NAME),
            "habits": DIGITS_FIRST.habits,
            "conditions": DIGITS_FIRST.conditions,
            "noise repeats": DIGITS_FIRST.noise_repeats,
        },
    )


def _load_pretrained(plan: TrainingPlan) -> JointModel:
    model = build_model(plan.design, seed=plan.seed)
    load_encoder(model, plan.encoder_dir)
    return model


@dataclass(frozen=True)
class Windows:
    """Windows in memory."""

    spectra: HalfArray  # [windows, channels, steps]
    targets: Targets

    @classmethod
    def load(cls, plan: TrainingPlan) -> "Windows":
        """The plan's, less those in which the voice that is left out is heard; see read."""
        return cls.read(
            plan.windows_dir,
            plan.recognizer_windows,
            per_part=plan.windows_per_part,
            left_out_voice=plan.left_out_voice,
        )

    @classmethod
    def read(
        cls, folder: Path, windows: int, *, per_part: int, left_out_voice: str | None = None
    ) -> "Windows":
        """The first so many windows, less those in which the voice that is left out is heard.

        The others are as they were: no window is made in the place of one that is left out.

        Raises FileNotFoundError when they have not been recorded.
        """
        parts: list[tuple[npt.NDArray[np.generic], ...]] = []
        for number in range(_count_parts(windows, per_part)):
            with np.load(_get_path(folder, number)) as part:
                voices = json.loads(str(part["voices"]))[: windows - number * per_part]
                kept = [n for n, heard in enumerate(voices) if left_out_voice not in heard]
                parts.append(tuple(part[name][kept] for name in _ARRAYS))
        spectra, *targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return cls(spectra, Targets(*(target.astype(np.int64) for target in targets)))

    def __len__(self) -> int:
        return len(self.spectra)


def _count_parts(windows: int, per_part: int) -> int:
    return math.ceil(windows / per_part)


def _get_path(folder: Path, part: int) -> Path:
    return folder / f"{part:04}.npz"


def _record(
    plan: TrainingPlan, recipe: Recipe, missing: Sequence[int], rank: int
) -> Iterable[tuple[int, int, str]]:
    numbers = missing[rank :: plan.workers]
    model = recipe.load_model()
    bank = ClipBank.load_all(recipe.banks)
    ids = read_text_ids(plan.design)
    # The noises of a stage take seconds and memory: only where they are wanted.
    make_maker = lru_cache(partial(ExampleMaker, bank, ids, seed=plan.seed))
    groups = plan.windows_per_part // _WINDOWS_AT_ONCE
    for done, number in enumerate(numbers):
        yield done, len(numbers), "Windows"
        maker = make_maker(stage=recipe.stages[number % len(recipe.stages)])
        examples: list[Example] = []
        spectra: list[HalfArray] = []
        for group in range(number * groups, (number + 1) * groups):
            made = maker.make(group, count=_WINDOWS_AT_ONCE, frames=plan.frames)
            spectra.append(_tell_spectra(model, made))
            examples += made
        _write(_get_path(recipe.folder, number), np.concatenate(spectra), examples)
    yield len(numbers), len(numbers), "Windows"


@torch.no_grad()
def _tell_spectra(model: JointModel, examples: list[Example]) -> HalfArray:
    return model.tell_spectrum(stack_audio(examples)).numpy().astype(np.float16)


def _write(path: Path, spectra: HalfArray, examples: list[Example]) -> None:
    """A reader never sees half a file."""
    targets = Targets.stack([example.targets for example in examples])
    unfinished = path.with_suffix(".partial.npz")
    np.savez(
        unfinished,
        spectra=spectra,
        text=targets.text.astype(np.int8),
        pauses=targets.pauses.astype(np.int8),
        states=targets.states.astype(np.int8),
        voices=np.array(json.dumps([sorted(example.voices) for example in examples])),
    )
    unfinished.replace(path)
