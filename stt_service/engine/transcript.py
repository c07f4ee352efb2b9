"""What one session has said, as far as its Final can carry it."""

from collections.abc import Iterable

from stt_service.engine.events import Event, Token, Word

# Final has to fit into the 4 MiB that gRPC's clients take unless told otherwise; the rest is for
# the fields around the words. About 85,000 words: nine hours of speech.
MAX_FINAL_BYTES = 3_900_000
# A word on the wire, without its text: two offsets of 12 bytes (up to 24 days), a confidence of 5,
# tag and length of the text and of the word. The text itself is there twice, here and joined.
WORD_BYTES = 35


class Transcript:
    """Words and the text around them, from the beginning to where they would no longer fit.

    The beginning and not the end is kept: a caller who has counted the words that were streamed
    finds them at the same places.
    """

    def __init__(self, max_bytes: int = MAX_FINAL_BYTES) -> None:
        self._bytes_left = max_bytes
        self._texts: list[str] = []
        self._words: list[Word] = []
        # Of the word that is not complete.
        self._open_text = ""
        self.is_cut = False
        """Whether something was said that is not in here."""

    @property
    def text(self) -> str:
        """The texts, joined."""
        return "".join(self._texts)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(self._words)

    def add(self, events: Iterable[Event]) -> None:
        """Take the tokens and words among these events, which the caller is told in this order."""
        for event in events:
            match event:
                case Token(text):
                    self._open_text += text
                case Word():
                    self._append(self._open_text, event)
                    self._open_text = ""
                case _:
                    pass

    def close(self) -> None:
        """No word follows: what is left are token texts that make none."""
        self._append(self._open_text, None)
        self._open_text = ""

    def _append(self, text: str, word: Word | None) -> None:
        """Add token texts and the word that they make."""
        if not text:
            return
        size = len(text.encode())
        if word is not None:
            size += WORD_BYTES + len(word.text.encode())
        if self.is_cut or size > self._bytes_left:
            self.is_cut = True
            return
        self._bytes_left -= size
        self._texts.append(text)
        if word is not None:
            self._words.append(word)
