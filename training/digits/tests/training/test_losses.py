import pytest
import torch
import torch.nn.functional as F

from digits_training.training.losses import weigh_pauses
from digits_training.training.targets import PAUSE_CLASS, SHORTER_GAP_CLASS, SPEECH_CLASS


@pytest.mark.parametrize(
    ("said", "weight"),
    [(SPEECH_CLASS, "speech_weight"), (SHORTER_GAP_CLASS, "shorter_gap_weight")],
)
def test_a_pause_that_is_none_costs_as_much_as_the_stage_says(said: int, weight: str) -> None:
    """Of two frames the head takes both for a pause; one is none."""
    logits = torch.zeros(2, 6)
    logits[:, PAUSE_CLASS] = 4.0
    truth = torch.tensor([PAUSE_CLASS, said])

    def measure(value: float) -> float:
        chosen = {"speech_weight": 1.0, "shorter_gap_weight": 1.0, weight: value}
        return float(F.cross_entropy(logits, truth, weight=weigh_pauses(6, **chosen)))

    assert measure(1.0) < measure(2.0) < measure(4.0)
