"""What one step costs, side by side for several checkpoints in one run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stt_service.engine.model import StepPlan
from stt_service.engine.step.moshi_model import MoshiModel

WARM_UP_ROUNDS = 5


@dataclass(frozen=True)
class StepCost:
    """Median and best time of a step, in milliseconds."""

    checkpoint: str
    slots: int
    median_ms: float
    best_ms: float


def measure_step_costs(
    checkpoints: Sequence[Path], *, slots: int, rounds: int, threads: int
) -> list[StepCost]:
    """Time full batches of noise; the checkpoints take turns, so that load hits all alike."""
    models = [MoshiModel(str(path), slots, device="cpu", threads=threads) for path in checkpoints]
    rng = np.random.default_rng(0)
    samples = models[0].info.frame_samples
    everyone, nobody = np.ones(slots, np.bool_), np.zeros(slots, np.bool_)
    times_s = np.zeros((len(models), rounds))
    for turn in range(-WARM_UP_ROUNDS, rounds):
        pcm = rng.normal(0, 0.05, (slots, 1, samples)).astype(np.float32)
        for index, model in enumerate(models):
            started_s = time.perf_counter()
            model.step(StepPlan(pcm, active=everyone, reset=nobody))
            if turn >= 0:
                times_s[index, turn] = time.perf_counter() - started_s
    return [
        StepCost(str(path), slots, 1e3 * float(np.median(row)), 1e3 * float(row.min()))
        for path, row in zip(checkpoints, times_s, strict=True)
    ]
