"""What the engine needs from a model: facts about it, and one batched step."""

from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ModelInfo:
    """Facts about a loaded model, all from its checkpoint.

    `pieces[i]` is the UTF-8 text of text id i with the word mark as a leading
    space; a byte-fallback piece is its one byte; ids without text are empty.
    `pause_heads_s[h]` is the length of the pause that VAD head h predicts.
    """

    sample_rate_hertz: int
    frame_samples: int
    delay_s: float
    silence_prefix_s: float
    padding_id: int
    end_of_padding_id: int
    pieces: tuple[bytes, ...]
    pause_heads_s: tuple[float, ...]

    @cached_property
    def frame_s(self) -> float:
        return self.frame_samples / self.sample_rate_hertz

    @cached_property
    def prefix_steps(self) -> int:
        """Silent steps before the first audio frame; a started frame counts whole, as Kyutai's own
        delayed-streams-modeling scripts do."""
        return self.count_steps(self.silence_prefix_s)

    @property
    def has_semantic_vad(self) -> bool:
        return bool(self.pause_heads_s)

    def count_steps(self, duration_s: float) -> int:
        """Steps that cover a duration."""
        # Minus a millionth of a frame: 0.8 s is ten frames, not eleven through rounding.
        return ceil(duration_s / self.frame_s - 1e-6)


@dataclass(frozen=True)
class StepPlan:
    """One frame for every slot that has one; the other slots are masked."""

    pcm: FloatArray  # [slots, 1, frame_samples], any content where masked
    active: BoolArray  # [slots]
    reset: BoolArray  # [slots], forget the slot's past before this step


@dataclass(frozen=True)
class StepOutput:
    """The model's output; rows of masked slots are undefined."""

    text_ids: IntArray  # [slots]
    probabilities: FloatArray  # [slots], of the text ids
    pauses: FloatArray  # [slots, VAD heads], probability of a pause of pause_heads_s[h]


class BatchedModel(Protocol):
    """A streaming model with one row of state per slot. Used by one thread only."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def slots(self) -> int: ...

    def warm_up(self) -> None:
        """Step until the costs of first calls (kernels, graphs) are paid, then reset all."""
        ...

    def step(self, plan: StepPlan) -> StepOutput: ...
