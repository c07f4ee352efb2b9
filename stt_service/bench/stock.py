"""Stock moshi's own loop, with nothing around it: what our step is measured against."""

# moshi is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import torch
from moshi.models.lm import LMGen
from moshi.utils.compile import no_compile

from stt_service.engine.model import FloatArray
from stt_service.engine.step.checkpoint import find_checkpoint


class StockMoshi:
    """`mimi.encode` and `LMGen.step_with_extra_heads` on a CPU, every slot active in every step."""

    def __init__(self, source: str, slots: int, dtype: torch.dtype) -> None:
        checkpoint = find_checkpoint(source)
        self._mimi = checkpoint.get_mimi("cpu")
        lm = checkpoint.get_moshi("cpu", dtype=dtype)
        self._lm_gen = LMGen(lm, use_sampling=False, temp=0, temp_text=0, support_out_of_sync=True)
        self._mimi.streaming_forever(slots)
        self._lm_gen.streaming_forever(slots)

    def step(self, pcm: FloatArray) -> None:
        """pcm: [slots, 1, samples]."""
        with torch.no_grad(), no_compile():
            self._lm_gen.step_with_extra_heads(self._mimi.encode(torch.from_numpy(pcm)))
