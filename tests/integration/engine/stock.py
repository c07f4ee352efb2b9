"""Stock moshi, one stream at a time: what our step has to say the same as."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from moshi.models import LMGen
from moshi.utils.compile import no_compile

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.step.checkpoint import find_checkpoint

Frame = npt.NDArray[np.float32]  # [FRAME_SAMPLES]

# A sum in another order moves a logit of this model by less than 2e-5: ten times that is a tie.
NEAR_TIE = 2e-4


@dataclass(frozen=True)
class Said:
    """What stock moshi says in one step; `margin` is by how much the text id's logit won."""

    text_id: int
    margin: float
    pauses: npt.NDArray[np.float32]


class StockLoop:
    """`mimi.encode` and `LMGen.step_with_extra_heads` at batch 1, as in moshi's own scripts."""

    def __init__(self) -> None:
        checkpoint = find_checkpoint(str(DIGITS_CHECKPOINT))
        self._mimi = checkpoint.get_mimi("cpu")
        lm = checkpoint.get_moshi("cpu", dtype=torch.float32)
        self._lm_gen = LMGen(
            lm, use_sampling=False, temp=0, temp_text=0, on_text_logits_hook=self._keep
        )
        self._mimi.streaming_forever(1)
        self._lm_gen.streaming_forever(1)

    def _keep(self, logits: torch.Tensor) -> None:
        first, second = logits.flatten().topk(2).values
        self._margin = float(first - second)

    @torch.no_grad()
    @no_compile()
    def run(self, frames: list[Frame]) -> list[Said]:
        """What is said for these frames, from a fresh state."""
        self._mimi.reset_streaming()
        self._lm_gen.reset_streaming()
        said = []
        for frame in frames:
            codes = self._mimi.encode(torch.from_numpy(frame).view(1, 1, -1))
            output = self._lm_gen.step_with_extra_heads(codes)
            assert output is not None
            text_ids, heads = output
            pauses = np.array([float(head[0, 0, 0]) for head in heads], dtype=np.float32)
            said.append(Said(int(text_ids[0, 0, 0]), self._margin, pauses))
        return said
