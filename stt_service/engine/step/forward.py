"""One step: a frame of audio of every slot → one row of numbers for each."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from dataclasses import dataclass

import torch

from stt_service.engine.step.language_model import LanguageModel, predict
from stt_service.engine.step.mimi import Mimi, encode
from stt_service.engine.step.state import Rows


@dataclass(frozen=True)
class Filled:
    """How much of the two transformers' rings is attended to, at least what the fullest holds."""

    mimi: int
    lm: int


def step(
    mimi: Mimi,
    lm: LanguageModel,
    pcm: torch.Tensor,
    active: torch.Tensor,
    state: Rows,
    filled: Filled,
) -> torch.Tensor:
    """pcm: float32 [slots, samples]; active: bool [slots, 1] → float32 [slots, 2 + pause heads].

    A row is the text id, its probability and the heads' pauses; it is undefined where the slot is
    not active. The state is changed in place, where active, and nothing waits for the host, so
    that all of it can be captured as one CUDA graph.
    """
    codes, latents = encode(mimi, pcm, active, state, filled.mimi)
    text_ids, probabilities, pauses = predict(lm, codes, state, filled.lm)
    # Codes look sound even if what they were made of is not.
    probabilities = probabilities + (latents * 0).sum(dim=1, keepdim=True)
    torch.where(active, text_ids, state.token, out=state.token)
    state.position.add_(active)
    return torch.cat([text_ids.float(), probabilities, pauses], dim=1)
