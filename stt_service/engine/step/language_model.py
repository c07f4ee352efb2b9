"""The language model: a frame's codes → a text id, its probability, the pauses' probabilities."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from dataclasses import dataclass
from typing import NamedTuple

import torch

from stt_service.engine.step.state import Rows
from stt_service.engine.step.transformer import Function, Linear, Transformer, find_places, run


@dataclass(frozen=True)
class LanguageModel:
    """`offsets` are where each codebook's rows begin in `embeddings`, the text's last; `initial`
    are the rows that begin a stream."""

    embeddings: torch.Tensor  # [rows, dim]
    offsets: torch.Tensor  # int64 [codebooks + 1]
    initial: torch.Tensor  # int64 [codebooks + 1]
    transformer: Transformer
    out_norm: Function
    text: Linear  # [slots, dim] → [slots, text ids]
    pauses: Linear  # [slots, dim] → [slots, heads * classes]
    pause_heads: int
    pause_classes: int


class Prediction(NamedTuple):
    """Greedily decoded: a text id is the most probable one. Of a head's classes the first is the
    pause."""

    text_ids: torch.Tensor  # int64 [slots, 1]
    probabilities: torch.Tensor  # float32 [slots, 1]
    pauses: torch.Tensor  # float32 [slots, pause heads]


def predict(lm: LanguageModel, codes: torch.Tensor, state: Rows, filled: int) -> Prediction:
    """codes: int64 [slots, codebooks].

    A stream's first step is fed initial tokens in place of its codes, as moshi does.
    """
    rows = torch.cat([codes, state.token], dim=1) + lm.offsets
    rows = torch.where(state.position == 0, lm.initial, rows)
    x = lm.embeddings[rows].sum(dim=1, dtype=lm.transformer.dtype)  # [slots, dim]
    places = find_places(lm.transformer, state.lm, state.position, filled)
    x = lm.out_norm(run(lm.transformer, x, state.lm, places))
    logits = lm.text(x).float()
    classes = lm.pauses(x).float().view(len(x), lm.pause_heads, lm.pause_classes)
    text_ids = logits.argmax(dim=1, keepdim=True)
    return Prediction(
        text_ids=text_ids,
        probabilities=logits.softmax(dim=1).gather(1, text_ids),
        pauses=classes.softmax(dim=2)[:, :, 0],
    )
