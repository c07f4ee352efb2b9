import torch
import torch.nn.functional as F

from digits_training.training.losses import weigh_pauses
from digits_training.training.targets import PAUSE_CLASS, SHORTER_GAP_CLASS, SPEECH_CLASS


def test_a_pause_within_speech_costs_as_much_as_the_stage_says() -> None:
    """Of two frames the head takes both for a pause; one is speech."""
    logits = torch.zeros(2, 6)
    logits[:, PAUSE_CLASS] = 4.0
    said = torch.tensor([PAUSE_CLASS, SPEECH_CLASS])

    def measure(speech_weight: float) -> float:
        weights = weigh_pauses(6, speech_weight=speech_weight)
        return float(F.cross_entropy(logits, said, weight=weights))

    assert measure(1.0) < measure(2.0) < measure(4.0)


def test_a_shorter_gap_weighs_the_same_in_all_stages() -> None:
    weights = [float(weigh_pauses(6, speech_weight=one)[SHORTER_GAP_CLASS]) for one in (1.0, 2.0)]
    assert weights == [3.0, 3.0]
