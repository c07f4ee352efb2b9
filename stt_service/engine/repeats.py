"""What a model writes twice, because it has heard the same audio twice."""

from collections import deque
from collections.abc import Sequence

from stt_service.engine.events import Event, Token, Word


class Repeats:
    """Leaves out words that were told already when the model writes them again.

    What was told stays told, so words are matched by their order and not by what they say.
    """

    def __init__(self) -> None:
        # Of each word that was told: how much audio was heard then.
        self._untils_s: deque[float] = deque()

    def fork(self) -> "Repeats":
        """A copy that goes its own way."""
        fork = Repeats()
        fork._untils_s = self._untils_s.copy()
        return fork

    def expect(self, words: int, until_s: float) -> None:
        """So many words more of the audio before `until_s` were told, and will come again."""
        self._untils_s.extend([until_s] * words)

    def leave_out(self, events: Sequence[Event]) -> list[Event]:
        """The events without those words and their tokens."""
        return [event for event in events if not self._is_repeated(event)]

    def _is_repeated(self, event: Event) -> bool:
        if not self._untils_s or not isinstance(event, Token | Word):
            return False
        while self._untils_s and event.start_s >= self._untils_s[0]:
            # The model has made fewer words of it this time.
            self._untils_s.popleft()
        if not self._untils_s:
            return False
        if isinstance(event, Word):
            self._untils_s.popleft()
        return True
