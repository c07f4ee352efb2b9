"""A session's turns: its pauses, and the utterances between them."""

from collections.abc import Sequence

from stt_service.engine.events import Event, Pause, Token, Utterance, Word
from stt_service.engine.model import ModelInfo
from stt_service.engine.pauses import VadOptions, make_pause_detector
from stt_service.engine.timeline import Timeline
from stt_service.engine.words import WordAssembler

MAX_TURN_WORDS = 5_000
"""Half an hour of speech without a pause, or a pause that nobody ever makes. A longer turn would be
kept without end, and outgrow what fits into one message."""


class TurnTracker:
    """Turns a session's words and pause probabilities into pauses and utterances.

    The text runs behind the audio by the model's delay: when a pause is predicted, the last words
    before it are not written yet. Their utterance is closed once the text has passed the pause.
    """

    def __init__(
        self, info: ModelInfo, vad: VadOptions, timeline: Timeline, words: WordAssembler
    ) -> None:
        self._info = info
        self._timeline = timeline
        self._words = words
        self._pauses = make_pause_detector(info, vad)
        self._turn: list[Word] = []
        self._pauses_found = 0
        self._tokens = 0
        # Where the pause was heard that is to close the turn.
        self._pause_at_s: float | None = None

    def take_over(self, other: "TurnTracker") -> None:
        """Go on from what another has told, which began as a copy of this one."""
        self._turn = other._turn
        self._pause_at_s = other._pause_at_s
        if other._pauses_found > self._pauses_found:
            self._pauses, self._pauses_found = other._pauses, other._pauses_found
        elif other._tokens > self._tokens:
            self._pauses.note_speech()

    def change(self, vad: VadOptions) -> None:
        """Look for other pauses from the next step on. Raises InvalidOptions."""
        self._pauses.change(vad)

    def feed(
        self, events: Sequence[Event], pause_probabilities: Sequence[float], *, is_real: bool
    ) -> list[Event]:
        """Take the tokens and words of the timeline's latest step.

        `is_real` says whether the silence in it, if any, is the caller's: not one that was made up
        for a flush.
        """
        found: list[Event] = []
        tokens = sum(isinstance(event, Token) for event in events)
        if tokens:
            self._tokens += tokens
            self._pauses.note_speech()
        if is_real and self._pauses.feed(pause_probabilities):
            found.append(Pause(self._timeline.heard_s))
            self._pauses_found += 1
            self._pause_at_s = self._find_turn_end_s()
        return found + self._add(events) + self._close_if_due()

    def close(self, events: Sequence[Event]) -> list[Event]:
        """Take the last words of the audio so far, and close the turn."""
        found = self._add(events)
        self._pause_at_s = None
        return found + self._close()

    def _find_turn_end_s(self) -> float:
        # Without heads the pause is found in the text, which is as far as the turn goes.
        is_heard = self._info.has_semantic_vad
        return self._timeline.heard_s if is_heard else self._timeline.text_time_s()

    def _add(self, events: Sequence[Event]) -> list[Event]:
        found: list[Event] = []
        for event in events:
            if isinstance(event, Word):
                if self._is_after_pause(event.start_s):
                    found += self._close()
                    self._pause_at_s = None
                self._turn.append(event)
                if len(self._turn) == MAX_TURN_WORDS:
                    found += self._close()
        return found

    def _close_if_due(self) -> list[Event]:
        if self._pause_at_s is None or self._timeline.text_time_s() < self._pause_at_s:
            return []
        open_since_s = self._words.open_since_s
        if open_since_s is not None and not self._is_after_pause(open_since_s):
            return []
        self._pause_at_s = None
        return self._close()

    def _is_after_pause(self, start_s: float) -> bool:
        return self._pause_at_s is not None and start_s >= self._pause_at_s

    def _close(self) -> list[Event]:
        turn, self._turn = self._turn, []
        return [Utterance(tuple(turn))] if turn else []
