"""Finds the pauses between a speaker's turns, one per turn.

A model with VAD heads predicts them from the sound. For one without, a pause is that long a stretch
of the caller's audio in which the model wrote nothing; it is found later, by the model's delay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stt_service.engine.errors import InvalidOptions
from stt_service.engine.model import ModelInfo

# The four extra heads of Kyutai's 1B model predict pauses of these lengths (kyutai/stt-1b-en_fr,
# delayed-streams-modeling); the checkpoint's config counts the heads but does not say this.
KYUTAI_PAUSE_HEADS_S = (0.5, 1.0, 2.0, 3.0)
DEFAULT_PAUSE_S = 2.0
DEFAULT_THRESHOLD = 0.5
# Longer than anybody waits for an answer; a model without heads finds pauses of any length.
MAX_PAUSE_S = 60.0
# Kyutai's own clients ignore the heads for about the first second.
IGNORED_STEPS = 12
# After a pause the probability has to fall this far below the threshold before the next one.
REARM_FACTOR = 0.7


@dataclass(frozen=True, slots=True)
class VadOptions:
    """What counts as a pause: its length, and for a model with VAD heads how probable it is."""

    pause_s: float = DEFAULT_PAUSE_S
    threshold: float = DEFAULT_THRESHOLD

    def check_against(self, info: ModelInfo) -> None:
        """Raise InvalidOptions if the model cannot find such a pause."""
        if info.has_semantic_vad:
            check_threshold(self.threshold)
            choose_head(self.pause_s, info.pause_heads_s)
        elif not 0 < self.pause_s <= MAX_PAUSE_S:
            raise InvalidOptions(
                "vad.pause_seconds",
                f"vad.pause_seconds is {self.pause_s:g}; it must be above 0 and at most "
                f"{MAX_PAUSE_S:g}",
            )


def choose_head(pause_s: float, heads_s: Sequence[float]) -> int:
    """Index of the head that predicts a pause of `pause_s`; InvalidOptions if there is none."""
    for head, head_s in enumerate(heads_s):
        if abs(head_s - pause_s) < 1e-6:
            return head
    known = ", ".join(f"{head_s:g}" for head_s in heads_s)
    raise InvalidOptions(
        "vad.pause_seconds", f"the model predicts pauses of {known} s, not of {pause_s:g} s"
    )


def check_threshold(threshold: float) -> None:
    """Raise InvalidOptions unless the threshold is strictly between 0 and 1."""
    if not 0 < threshold < 1:
        raise InvalidOptions("vad.threshold", f"vad.threshold is {threshold:g}, not within (0, 1)")


class PauseDetector(Protocol):
    """Fires once per turn."""

    def change(self, vad: VadOptions) -> None:
        """Look for other pauses from the next step on."""
        ...

    def note_speech(self, *, is_new: bool) -> None:
        """Record that the next step has a token; `is_new` unless that was told before."""
        ...

    def feed(self, pause_probabilities: Sequence[float]) -> bool:
        """Take one step of the caller's audio, with a probability for each VAD head; True when
        the turn ends here."""
        ...


def make_pause_detector(info: ModelInfo, vad: VadOptions) -> PauseDetector:
    """The detector that suits the model. Raises InvalidOptions for a pause that it cannot find."""
    return HeadPauseDetector(info, vad) if info.has_semantic_vad else TextPauseDetector(info, vad)


class HeadPauseDetector:
    """Fires when a VAD head predicts a pause and a token came since the last one."""

    def __init__(self, info: ModelInfo, vad: VadOptions) -> None:
        self._info = info
        self._steps = 0
        self._armed = True
        self._spoken = False
        self.change(vad)

    def change(self, vad: VadOptions) -> None:
        """Use the head and the threshold of other options. Raises InvalidOptions."""
        self._head = choose_head(vad.pause_s, self._info.pause_heads_s)
        self._threshold = vad.threshold

    def note_speech(self, *, is_new: bool) -> None:
        """Record that the next step has a token, and the turn with it if it is new."""
        self._spoken = self._spoken or is_new

    def feed(self, pause_probabilities: Sequence[float]) -> bool:
        """Take one step's probabilities; True when the turn ends here."""
        probability = pause_probabilities[self._head]
        self._steps += 1
        if probability < REARM_FACTOR * self._threshold:
            # The last word's token may come after its pause was recognised; only a fall of the
            # probability, not that token, starts the next turn.
            self._armed = True
        if self._steps <= IGNORED_STEPS or probability <= self._threshold:
            return False
        if not (self._armed and self._spoken):
            return False
        self._armed = self._spoken = False
        return True


class TextPauseDetector:
    """Fires when the model has written nothing for as many steps as the pause is long."""

    def __init__(self, info: ModelInfo, vad: VadOptions) -> None:
        self._info = info
        self._spoken = False
        self._quiet_steps = 0
        self.change(vad)

    def change(self, vad: VadOptions) -> None:
        """Look for a pause of another length."""
        self._pause_steps = self._info.count_steps(vad.pause_s)

    def note_speech(self, *, is_new: bool) -> None:
        """Record that the next step has a token, and the turn with it if it is new."""
        self._spoken = self._spoken or is_new
        self._quiet_steps = 0

    def feed(self, pause_probabilities: Sequence[float]) -> bool:
        """Take one step; True when the turn ends here."""
        del pause_probabilities
        self._quiet_steps += 1
        if not self._spoken or self._quiet_steps <= self._pause_steps:
            return False
        self._spoken = False
        return True
