"""What a caller was told in all, as far as its Final is to carry it."""

from __future__ import annotations

from collections.abc import Iterable

from client.rpc.events import Final, Timing, Word

# A word in a message, without its text, as the service reckons it (stt_service.engine.transcript).
WORD_BYTES = 35


class Told:
    """Token texts and words, all or those from the beginning that fit into `max_bytes`."""

    def __init__(self, max_bytes: int | None = None) -> None:
        self._bytes_left = max_bytes
        self._texts: list[str] = []
        self._words: list[Word] = []
        self._is_cut = False

    def add_text(self, text: str) -> None:
        """The text of a token."""
        # A word's text is in it twice, and has to have room there when it comes.
        if self._has_room_for(2 * len(text.encode())):
            self._texts.append(text)

    def add_words(self, words: Iterable[Word]) -> None:
        """Words whose texts were added."""
        self._words += (word for word in words if self._has_room_for(WORD_BYTES))

    def make_final(self, audio_duration_s: float, timing: Timing) -> Final:
        """The last event."""
        transcript, words = "".join(self._texts), tuple(self._words)
        return Final(transcript, words, audio_duration_s, timing, is_cut=self._is_cut)

    def _has_room_for(self, size: int) -> bool:
        if self._bytes_left is None:
            return True
        self._is_cut = self._is_cut or size > self._bytes_left
        if not self._is_cut:
            self._bytes_left -= size
        return not self._is_cut
