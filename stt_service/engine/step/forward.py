"""One step: a frame of audio of every slot → one row of numbers for each."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from dataclasses import dataclass

import torch

from stt_service.engine.step.language_model import LanguageModel, predict
from stt_service.engine.step.mimi import Mimi, encode
from stt_service.engine.step.state import Rows, State


@dataclass(frozen=True)
class Network:
    """All weights of a step."""

    mimi: Mimi
    lm: LanguageModel

    @property
    def columns(self) -> int:
        """Numbers in a row that a step gives."""
        return 2 + self.lm.pause_heads

    def make_state(self, slots: int, device: torch.device | str) -> State:
        """A state in which every slot is reset."""
        mimi, lm = self.mimi.transformer, self.lm.transformer
        return State.create(mimi, lm, self.mimi.window_shapes, slots, device)


@dataclass(frozen=True)
class Reach:
    """How many places of the two transformers' rings a step attends to: known to the host."""

    mimi: int
    lm: int

    @classmethod
    def whole(cls, network: Network) -> "Reach":
        return cls(network.mimi.transformer.context, network.lm.transformer.context)

    @classmethod
    def after(cls, network: Network, frames: int) -> "Reach":
        """What the rings hold after so many frames."""
        mimi, lm = network.mimi.transformer, network.lm.transformer
        return cls(
            min(frames * mimi.per_frame, mimi.context), min(frames * lm.per_frame, lm.context)
        )


def step(
    network: Network, pcm: torch.Tensor, active: torch.Tensor, state: Rows, reach: Reach
) -> torch.Tensor:
    """pcm: float32 [slots, samples]; active: bool [slots, 1] → float32 [slots, columns].

    A row is the text id, its probability and the pauses' probabilities; it is undefined where the
    slot is not active. The state moves on in place, where active. Nothing here waits for the
    device or makes new state, so that all of it can be captured as one CUDA graph.
    """
    codes, latents = encode(network.mimi, pcm, active, state, reach.mimi)
    text_ids, probabilities, pauses = predict(network.lm, codes, state, reach.lm)
    # Codes look sound even if what they were made of is not: zero times that is not zero.
    probabilities = torch.add(probabilities, latents.sum(dim=1, keepdim=True), alpha=0)
    torch.where(active, text_ids, state.token, out=state.token)
    state.position.add_(active)
    return torch.cat([text_ids.float(), probabilities, pauses], dim=1)
