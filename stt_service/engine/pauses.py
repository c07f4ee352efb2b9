"""From the VAD heads' probabilities to pauses, one per turn."""

from collections.abc import Sequence

from stt_service.engine.errors import InvalidOptions

# The four extra heads of Kyutai's 1B model predict pauses of these lengths (kyutai/stt-1b-en_fr,
# delayed-streams-modeling); the checkpoint's config counts the heads but does not say this.
KYUTAI_PAUSE_HEADS_S = (0.5, 1.0, 2.0, 3.0)
DEFAULT_PAUSE_S = 2.0
DEFAULT_THRESHOLD = 0.5
# Kyutai's own clients ignore the heads for about the first second.
IGNORED_STEPS = 12
# After a pause the probability has to fall this far below the threshold before the next one.
REARM_FACTOR = 0.7


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


class PauseDetector:
    """Fires once per turn: when a pause is predicted and a token came since the last one."""

    def __init__(self, threshold: float = DEFAULT_THRESHOLD) -> None:
        self._threshold = threshold
        self._steps = 0
        self._armed = True
        self._spoken = False

    def note_speech(self) -> None:
        """Record that the current turn has a token."""
        self._spoken = True

    def feed(self, probability: float) -> bool:
        """Take one step's probability; True when the turn ends here."""
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
