"""From text ids to tokens and words."""

import codecs
import copy
from math import exp, log

from stt_service.engine.events import Event, Token, Word
from stt_service.engine.model import ModelInfo
from stt_service.engine.timeline import SpeechEnd, Timeline

# A word whose end cannot be heard (noise, music) is sent this long after its last piece.
MAX_WAIT_FOR_END_S = 1.0
MIN_PROBABILITY = 1e-9
# A model that goes on without a space writes no word; it is cut, so that it does not grow for ever.
MAX_PIECES = 256


class WordAssembler:
    """Assembles one session's tokens and words, with times from its timeline.

    The model writes the end-of-padding id just before a word: that step is the
    word's start and bounds the word before it. Every other id but padding is a
    piece. A token is sent with its step; a word is sent once the text has passed
    its end, which is heard in the audio or set by the next word's start.
    """

    def __init__(self, info: ModelInfo, timeline: Timeline) -> None:
        self._info = info
        self._timeline = timeline
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._boundary_s: float | None = None
        self._text = ""
        self._start_s = 0.0
        self._speech_end = SpeechEnd(timeline, 0.0)
        self._log_probabilities: list[float] = []
        # Set once the pieces are complete and only the word's end is unknown.
        self._complete_at_s: float | None = None

    def fork(self, timeline: Timeline) -> "WordAssembler":
        """A copy that goes its own way in a fork of its timeline."""
        fork = copy.copy(self)
        fork._timeline = timeline
        fork._utf8 = copy.copy(self._utf8)
        fork._speech_end = self._speech_end.fork(timeline)
        fork._log_probabilities = self._log_probabilities.copy()
        return fork

    @property
    def mid_word(self) -> bool:
        """Whether the latest step announced or continued a word: more pieces may follow."""
        return self._writing or self._boundary_s is not None

    @property
    def open_since_s(self) -> float | None:
        """Where the word starts that is announced or not yet sent; None if there is none."""
        if self._log_probabilities:
            return self._start_s
        return self._boundary_s

    @property
    def _writing(self) -> bool:
        return bool(self._log_probabilities) and self._complete_at_s is None

    def feed(self, text_id: int, probability: float) -> list[Event]:
        """Take the text id of the timeline's latest step."""
        now_s = self._timeline.text_time_s()
        if text_id == self._info.end_of_padding_id:
            events = self._end_word(before_s=now_s)
            self._boundary_s = now_s
            return events
        if text_id == self._info.padding_id:
            # Padding right after a boundary cancels the announced word.
            self._boundary_s = None
            if self._writing:
                self._complete_at_s = now_s
            return [*self._end_letter(), *self._end_word_if_heard(now_s)]
        return self._feed_piece(text_id, probability, now_s)

    def flush(self) -> list[Event]:
        """Emit the open word; every piece of the audio so far has been fed."""
        self._boundary_s = None
        return self._end_word(before_s=self._timeline.heard_s)

    def _feed_piece(self, text_id: int, probability: float, now_s: float) -> list[Event]:
        piece = self._info.pieces[text_id]
        events: list[Event] = []
        is_full = len(self._log_probabilities) >= MAX_PIECES
        if piece.startswith(b" ") or not self._writing or is_full:
            # Rarely two words share a boundary; then the second starts at its own first piece.
            start_s = now_s if self._boundary_s is None else self._boundary_s
            events += self._end_word(before_s=start_s)
            self._start_s = start_s
            self._speech_end = SpeechEnd(self._timeline, start_s)
        self._boundary_s = None
        self._log_probabilities.append(log(max(probability, MIN_PROBABILITY)))
        text = self._utf8.decode(piece)
        return [*events, self._append_text(text)] if text else events

    def _append_text(self, text: str) -> Token:
        self._text += text
        return Token(text, self._start_s)

    def _end_letter(self) -> list[Event]:
        """No more pieces come for now: bytes that do not form a character become U+FFFD."""
        broken = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return [self._append_text(broken)] if broken else []

    def _end_word_if_heard(self, now_s: float) -> list[Event]:
        if self._complete_at_s is None:
            return []
        end_s = self._speech_end.find_s()
        if end_s is not None and end_s <= now_s:
            return self._end_word(before_s=now_s)
        if now_s - self._complete_at_s >= MAX_WAIT_FOR_END_S:
            return self._end_word(before_s=self._complete_at_s)
        return []

    def _end_word(self, before_s: float) -> list[Event]:
        """Emit the open word, if any, ending no later than `before_s`."""
        events = self._end_letter()
        word_text = self._text.strip()
        log_probabilities = self._log_probabilities
        self._text, self._log_probabilities, self._complete_at_s = "", [], None
        if not word_text:
            return events
        heard_end_s = self._speech_end.find_s()
        end_s = before_s if heard_end_s is None else min(heard_end_s, before_s)
        confidence = exp(sum(log_probabilities) / len(log_probabilities))
        word = Word(word_text, self._start_s, max(end_s, self._start_s), min(confidence, 1.0))
        return [*events, word]
