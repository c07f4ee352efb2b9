"""What the engine needs from a model: facts about it, and one batched step."""

from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

# A tail is the delay plus a margin, so that words the model writes late still arrive.
TAIL_MARGIN_S = 0.25
# If a word is still being written at the end of the tail, the tail is extended by up to this.
TAIL_EXTENSION_S = 2.0


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

    @cached_property
    def tail_steps(self) -> int:
        """Silent steps in which the model writes the text of all audio before them."""
        return self.count_steps(self.delay_s + TAIL_MARGIN_S)

    @cached_property
    def extension_steps(self) -> int:
        """Silent steps more that a tail may take, at most."""
        return self.count_steps(TAIL_EXTENSION_S)

    @property
    def has_semantic_vad(self) -> bool:
        return bool(self.pause_heads_s)

    def count_steps(self, duration_s: float) -> int:
        """Steps that cover a duration."""
        # Minus a millionth of a frame: 0.8 s is ten frames, not eleven through rounding.
        return ceil(duration_s / self.frame_s - 1e-6)


@dataclass(frozen=True)
class StepPlan:
    """One frame for every slot that has one; the other slots are masked.

    `leaving` are slots whose state before this step is to be kept: they come back to it, in the
    step in which they are `returning`, if they hear more audio. In between they take at most one
    frame, `ModelInfo.tail_steps` and `extension_steps`. A slot may return and leave in one step.
    """

    pcm: FloatArray  # [slots, 1, frame_samples], any content where masked
    active: BoolArray  # [slots]
    reset: BoolArray  # [slots], forget the slot's past before this step
    leaving: tuple[int, ...] = field(default=(), kw_only=True)
    returning: tuple[int, ...] = field(default=(), kw_only=True)


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
