"""A session's turns: its pauses, and the utterances between them."""

import copy
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
        # How it was left by the latest pause; the tokens that were told since, and the pauses.
        self._after_pause = self._pauses
        self._tokens_told = 0
        self._pauses_told = 0
        # Where the pause was heard that is to close the turn.
        self._pause_at_s: float | None = None
        # The pause that is to be told when the turn closes.
        self._held: Pause | None = None

    def fork(self, timeline: Timeline, words: WordAssembler) -> "TurnTracker":
        """A copy that goes its own way with forks of its timeline and words."""
        fork = copy.copy(self)
        fork._timeline, fork._words = timeline, words
        fork._pauses, fork._after_pause = copy.copy(self._pauses), copy.copy(self._after_pause)
        fork._turn = self._turn.copy()
        return fork

    def take_over(self, other: "TurnTracker") -> None:
        """Go on from what another has told, which began as a copy of this one."""
        self._turn = other._turn
        self._pause_at_s = other._pause_at_s
        if other._pauses_told > self._pauses_told:
            self._pauses, self._pauses_told = other._after_pause, other._pauses_told
            self._tokens_told = 0
        if other._tokens_told > self._tokens_told:
            self._pauses.note_speech(is_new=True)

    def change(self, vad: VadOptions) -> None:
        """Look for other pauses from the next step on. Raises InvalidOptions."""
        for detector in (self._pauses, self._after_pause):
            detector.change(vad)

    def note_speech(self, *, is_new: bool) -> None:
        """The model writes in the next step; `is_new` unless all of it was told before."""
        self._pauses.note_speech(is_new=is_new)

    def feed(
        self,
        events: Sequence[Event],
        pause_probabilities: Sequence[float],
        *,
        is_real: bool,
        holds_pause: bool = False,
    ) -> list[Event]:
        """Take the tokens and words of the timeline's latest step that are told.

        `is_real` says whether the silence in it, if any, is the caller's: not one that was made up
        for a flush. With `holds_pause` a pause is told when the turn closes, if it does:
        not before the word in which the audio breaks off.
        """
        found: list[Event] = []
        self._count_tokens(events)
        if is_real and self._pauses.feed(pause_probabilities):
            pause = Pause(self._timeline.heard_s)
            self._after_pause = copy.copy(self._pauses)
            if holds_pause:
                self._held = pause
            else:
                found.append(self._tell(pause))
                self._pause_at_s = self._find_turn_end_s()
        return found + self._add(events) + self._close_if_due()

    def close(self, events: Sequence[Event]) -> list[Event]:
        """Take the last words of the audio so far, and close the turn."""
        self._count_tokens(events)
        found = self._add(events)
        if self._held is not None:
            found.append(self._tell(self._held))
        self._pause_at_s = self._held = None
        return found + self._close()

    def _count_tokens(self, events: Sequence[Event]) -> None:
        self._tokens_told += sum(isinstance(event, Token) for event in events)

    def _tell(self, pause: Pause) -> Pause:
        self._pauses_told += 1
        self._tokens_told = 0
        return pause

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
