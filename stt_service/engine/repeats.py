"""What a model writes twice, because it has heard the same audio twice."""

from collections.abc import Sequence

from stt_service.engine.events import Event, Token, Word


class Repeats:
    """Leaves out words that were told already when the model writes them again.

    What was told stays told, so words are matched by their order and not by what they say.
    """

    def __init__(self) -> None:
        self._words_left = 0
        self._until_s = 0.0

    def expect(self, words: int, until_s: float) -> None:
        """So many words more of the audio before `until_s` were told, and will come again."""
        self._words_left += words
        self._until_s = until_s

    def leave_out(self, events: Sequence[Event]) -> list[Event]:
        """The events without those words and their tokens."""
        return [event for event in events if not self._is_repeated(event)]

    def _is_repeated(self, event: Event) -> bool:
        if not self._words_left or not isinstance(event, Token | Word):
            return False
        if event.start_s >= self._until_s:
            # The model has made fewer words of it this time.
            self._words_left = 0
            return False
        if isinstance(event, Word):
            self._words_left -= 1
        return True
