"""One transcript out of several connections: no word lost, none doubled.

A connection that breaks takes the model's state with it. The next one hears the audio again from
a few seconds before the last word, so that the model has context by the time it matters, and the
words that the caller has seen already are recognised by time and text and dropped.

The rules and the reasons are in docs/replay.md. gateway/web/replay.js follows the same ones, and
the vectors in tests/vectors/replay.json hold both to them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from client.rpc.events import (
    Final,
    Flushed,
    Ping,
    Ready,
    Reconnected,
    ServerEvent,
    Timing,
    Token,
    Word,
)
from client.rpc.told import Told

# A repeated word may start this much earlier or later than the first time: with other
# context the model moves a boundary by a few frames of 80 ms.
REPEAT_TOLERANCE_S = 0.4
# A replay rarely misses a word that was heard before: skipping one counts as this much distance.
SKIP_COST_S = 0.16
# A word that was not recognised as a repeat is new only if it starts this long after the last one.
NEW_WORD_MARGIN_S = 0.2
# A word may be announced this much later than the model's delay says.
SETTLE_MARGIN_S = 0.5
# Two words are apart if this much lies between them.
MIN_GAP_S = 0.08


@dataclass
class _HeardWord:
    """A word as far as the caller has seen it."""

    start_s: float
    text: str = ""
    end_s: float | None = None

    @property
    def is_told(self) -> bool:
        """Whether its `Word` was yielded."""
        return self.end_s is not None


@dataclass
class _Incoming:
    """A word of the current connection, and the word of the caller that it is."""

    start_s: float
    heard: _HeardWord | None
    """None for a word of the replayed part that the caller never saw and must not see."""
    repeated: str = ""
    """Text that the caller has seen already, which is dropped."""
    text: str = ""

    def cut_repeated(self, piece: str) -> str:
        """The part of the piece just added to `text` that the caller has not seen."""
        whole, seen = self.text.lstrip(), self.repeated.lstrip()
        if not seen:
            return piece
        if not whole.startswith(seen):
            return ""
        return whole[max(len(seen), len(whole) - len(piece)) :]


class Transcript:
    """Merges the events of successive connections; knows where a replay may start.

    Its Final has everything that was said, or as much from the beginning as fits into
    `max_final_bytes` on the wire.
    """

    def __init__(self, max_final_bytes: int | None = None) -> None:
        self.processed_s = 0.0
        """Audio that a model has heard, in the stream's clock."""
        self.was_admitted = False
        """Whether any connection had its `Ready`."""
        self._delay_s = 0.0
        self._restart_s = 0.0
        self._base_s = 0.0
        self._heard: list[_HeardWord] = []
        self._expected: list[_HeardWord] = []
        self._current: _Incoming | None = None
        self._awaiting_word: deque[_Incoming] = deque()
        self._words_of_connection = 0
        self._told_until_s = 0.0
        self._told = Told(max_final_bytes)
        self._break_reason: str | None = None

    def begin(self, base_s: float, break_reason: str | None) -> None:
        """Start a connection whose audio begins at `base_s`; why the last one broke, if it did."""
        self._base_s = base_s
        self._break_reason = break_reason
        self._expected = [w for w in self._heard if w.start_s >= base_s - NEW_WORD_MARGIN_S]
        self._current = None
        self._awaiting_word.clear()
        self._words_of_connection = 0
        self._told_until_s = self.processed_s

    def accept(self, event: ServerEvent) -> list[ServerEvent | Reconnected]:
        """The events for the caller that follow from one event, in the stream's clock."""
        timing = self._shift_timing(event.timing)
        self.processed_s = max(self.processed_s, timing.processed_s)
        match event:
            case Ready():
                return [self._accept_ready(event)]
            case Token():
                return [*self._accept_token(event, timing)]
            case Word():
                self._words_of_connection += 1
                return [*self._accept_word(event, timing)]
            case Final():
                return self._accept_final(event, timing)
            case Ping() | Flushed():
                return [replace(event, timing=timing)]
            case _:
                offset_s = event.offset_s + self._base_s
                # What lies before the break was told before the break.
                if self._break_reason is not None and offset_s <= self._told_until_s:
                    return []
                return [replace(event, offset_s=offset_s, timing=timing)]

    def find_restart_s(self, context_s: float) -> float:
        """From where the audio must be heard again if the connection broke now.

        Never earlier than it was: what was settled stays settled, and its audio is forgotten.
        """
        settled_s = self.processed_s - self._delay_s - SETTLE_MARGIN_S
        if self._heard:
            last = self._heard[-1]
            settled_s = max(settled_s, last.start_s) if last.is_told else last.start_s
        self._restart_s = max(self._restart_s, self._move_into_gap(settled_s - context_s))
        return self._restart_s

    def _move_into_gap(self, time_s: float) -> float:
        """`time_s`, or where a word is spoken then, the middle of the silence before that word."""
        for index in range(len(self._heard) - 1, -1, -1):
            word = self._heard[index]
            if word.start_s - MIN_GAP_S > time_s:
                continue
            if word.end_s is not None and word.end_s + MIN_GAP_S < time_s:
                return time_s
            if index == 0:
                return word.start_s - NEW_WORD_MARGIN_S
            before = self._heard[index - 1]
            before_s = before.start_s if before.end_s is None else before.end_s
            return (before_s + word.start_s) / 2
        return time_s

    def _accept_ready(self, event: Ready) -> Ready | Reconnected:
        self._delay_s = event.delay_s
        self.was_admitted = True
        if self._break_reason is None:
            return event
        return Reconnected(event.session_id, self._base_s, self._break_reason)

    def _accept_token(self, token: Token, timing: Timing) -> list[ServerEvent]:
        start_s = token.start_s + self._base_s
        current = self._current
        if current is None or token.text.startswith(" ") or start_s != current.start_s:
            current = self._begin_word(token.text.strip(), start_s)
        current.text += token.text
        if current.heard is None:
            return []
        # The caller has had the whole word; a longer reading of it comes too late.
        text = "" if current.heard.is_told else current.cut_repeated(token.text)
        if not text:
            return []
        current.heard.text += text
        self._told.add_text(text)
        return [Token(text, current.heard.start_s, timing)]

    def _begin_word(self, text: str, start_s: float) -> _Incoming:
        incoming = self._recognise(text, start_s)
        self._current = incoming
        self._awaiting_word.append(incoming)
        return incoming

    def _recognise(self, text: str, start_s: float) -> _Incoming:
        """Whether a word that begins is a repeat, misheard context, or new."""
        if not self._expected:
            return self._new_word(start_s)
        repeats = [
            (abs(word.start_s - start_s) + SKIP_COST_S * index, index)
            for index, word in enumerate(self._expected)
            if _agree(word.text.strip(), text) and abs(word.start_s - start_s) <= REPEAT_TOLERANCE_S
        ]
        if repeats:
            _, index = min(repeats)
            heard = self._expected[index]
            del self._expected[: index + 1]
            return _Incoming(start_s, heard, repeated=heard.text)
        if start_s < self._expected[-1].start_s + NEW_WORD_MARGIN_S:
            return _Incoming(start_s, None)
        self._expected.clear()
        return self._new_word(start_s)

    def _new_word(self, start_s: float) -> _Incoming:
        heard = _HeardWord(start_s)
        self._heard.append(heard)
        return _Incoming(start_s, heard)

    def _accept_word(self, word: Word, timing: Timing) -> list[ServerEvent]:
        start_s, end_s = word.start_s + self._base_s, word.end_s + self._base_s
        if self._awaiting_word:
            incoming = self._awaiting_word.popleft()
        else:
            incoming = self._recognise(word.text, start_s)
        if incoming is self._current:
            self._current = None
        heard = incoming.heard
        if heard is None or heard.is_told:
            return []
        heard.end_s = end_s
        # The text that the caller saw, should a replay have read the word another way.
        text = heard.text.strip() or word.text
        merged = replace(word, text=text, start_s=start_s, end_s=end_s, timing=timing)
        told = [*self._close_unfinished(start_s, timing), merged]
        self._told.add_words(told)
        return [*told]

    def _accept_final(self, final: Final, timing: Timing) -> list[ServerEvent | Reconnected]:
        missing = final.words[self._words_of_connection :]
        told = [event for word in missing for event in self._accept_word(word, timing)]
        duration_s = final.audio_duration_s + self._base_s
        unfinished = self._settle(duration_s, timing)
        self._told.add_words(unfinished)
        return [*told, *unfinished, self._told.make_final(duration_s, timing)]

    def _settle(self, before_s: float, timing: Timing) -> list[Word]:
        """All words before a time were told: none of that audio is heard again."""
        unfinished = self._close_unfinished(before_s, timing)
        self._restart_s = max(self._restart_s, before_s)
        self._heard.clear()
        return unfinished

    def _close_unfinished(self, before_s: float, timing: Timing) -> list[Word]:
        """Words before a time whose pieces came before a break and that no replay brought again."""
        unfinished = [
            word
            for word in self._heard
            if not word.is_told and word.text and word.start_s < before_s
        ]
        for word in unfinished:
            word.end_s = before_s
        return [
            Word(word.text.strip(), word.start_s, before_s, confidence=0.0, timing=timing)
            for word in unfinished
        ]

    def _shift_timing(self, timing: Timing) -> Timing:
        return replace(timing, processed_s=timing.processed_s + self._base_s)


def _agree(seen: str, begins: str) -> bool:
    """Whether two readings may be one word: one of them is the other's beginning."""
    return seen.startswith(begins) or begins.startswith(seen)
