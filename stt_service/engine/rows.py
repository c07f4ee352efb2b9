"""Whether a step's output is numbers that mean something."""

import numpy as np

from stt_service.engine.errors import UnsuitableCheckpoint
from stt_service.engine.model import (
    BatchedModel,
    BoolArray,
    FloatArray,
    ModelInfo,
    StepOutput,
    StepPlan,
)

# So many broken rows in a row, and the model itself is broken.
MAX_BROKEN_ROWS = 3
# Sums of rounded numbers may exceed 1 by this much.
PROBABILITY_MARGIN = 1e-3
# The first step only primes the language model; the second and third use what it computed.
CHECK_STEPS = 3
CHECK_NOISE = 0.1


class BrokenModel(Exception):
    """What the model computes is no numbers, or none that mean anything."""


def find_broken_rows(active: BoolArray, output: StepOutput, text_ids: int) -> BoolArray:
    """The active rows that are not finite or out of range, of a model with so many text ids.

    Both masks have shape [slots].
    """
    fine = (output.text_ids >= 0) & (output.text_ids < text_ids)
    # Comparisons with NaN are false.
    fine &= _is_probability(output.probabilities)
    fine &= _is_probability(output.pauses).all(axis=1)
    return active & ~fine


def _is_probability(values: FloatArray) -> BoolArray:
    return (values >= -PROBABILITY_MARGIN) & (values <= 1 + PROBABILITY_MARGIN)


class RowGuard:
    """Counts broken rows between which there is no good one: in one slot, and altogether.

    A row may break through what one slot remembers; then that slot breaks again and again. Where
    no row is good, it is the model.
    """

    def __init__(self, slots: int) -> None:
        self._in_slot = np.zeros(slots, dtype=np.int64)
        self._in_a_row = 0

    def check(self, active: BoolArray, broken: BoolArray) -> None:
        """Take one step's rows; masks of shape [slots]. Raises BrokenModel."""
        good = active & ~broken
        self._in_slot[good] = 0
        self._in_slot[broken] += 1
        self._in_a_row = 0 if good.any() else self._in_a_row + int(broken.sum())
        if max(self._in_a_row, int(self._in_slot.max())) >= MAX_BROKEN_ROWS:
            raise BrokenModel(
                f"{MAX_BROKEN_ROWS} outputs of the model in a row were not finite or out of range"
            )


def check_model(model: BatchedModel) -> None:
    """Step a little noise in every slot and look at what comes out. Raises UnsuitableCheckpoint.

    Every session resets its slot before its first step, so none hears of it.
    """
    info: ModelInfo = model.info
    dice = np.random.default_rng(0)
    everyone = np.ones(model.slots, dtype=np.bool_)
    for step in range(CHECK_STEPS):
        noise = dice.normal(0, CHECK_NOISE, (model.slots, 1, info.frame_samples))
        reset = everyone if step == 0 else ~everyone
        output = model.step(StepPlan(noise.astype(np.float32), everyone, reset))
        broken = find_broken_rows(everyone, output, len(info.pieces))
        if broken.any():
            raise UnsuitableCheckpoint(
                f"{int(broken.sum())} of {model.slots} outputs for a little noise are not finite "
                "or out of range; its weights are damaged, or its config is another model's"
            )
