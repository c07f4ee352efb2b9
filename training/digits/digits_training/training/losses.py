"""What the training minimizes."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from digits_training.training.batches import Batch
from digits_training.training.network import Prediction
from digits_training.training.targets import SHORTER_GAP_CLASS, SPEECH_CLASS, TextIds

END_OF_PADDING_WEIGHT = 1.0
WORD_WEIGHT = 2.0
STATE_SHARE = 0.3
PAUSE_SHARE = 0.25
COMMITMENT_SHARE = 0.25


@dataclass(frozen=True)
class Losses:
    """Scalars; `total` carries the gradient."""

    total: torch.Tensor
    text: torch.Tensor
    state: torch.Tensor
    pause: torch.Tensor
    commitment: torch.Tensor

    def describe(self) -> dict[str, float]:
        """The parts by name."""
        return {name: float(loss.detach()) for name, loss in vars(self).items()}


def weigh_text(text_ids: int, ids: TextIds, *, padding_weight: float) -> torch.Tensor:
    """Weights of the text classes: padding is frequent and easy, words are rare and matter."""
    weights = torch.full((text_ids,), WORD_WEIGHT)
    weights[ids.padding] = padding_weight
    weights[ids.end_of_padding] = END_OF_PADDING_WEIGHT
    return weights


def weigh_pauses(classes: int, *, speech_weight: float, shorter_gap_weight: float) -> torch.Tensor:
    """Weights of the heads' classes."""
    weights = torch.ones(classes)
    weights[SHORTER_GAP_CLASS] = shorter_gap_weight
    weights[SPEECH_CLASS] = speech_weight
    return weights


def measure_losses(
    prediction: Prediction,
    batch: Batch,
    *,
    text_weights: torch.Tensor,
    pause_weights: torch.Tensor,
) -> Losses:
    """Compare a prediction with its batch."""
    text = F.cross_entropy(prediction.text_logits.transpose(1, 2), batch.text, weight=text_weights)
    state = F.cross_entropy(prediction.state_logits.transpose(1, 2), batch.states)
    pause_logits = prediction.pause_logits.permute(0, 3, 1, 2)
    pause = F.cross_entropy(pause_logits, batch.pauses, weight=pause_weights)
    commitment = prediction.commitment
    total = text + STATE_SHARE * state + PAUSE_SHARE * pause + COMMITMENT_SHARE * commitment
    return Losses(total=total, text=text, state=state, pause=pause, commitment=commitment)
