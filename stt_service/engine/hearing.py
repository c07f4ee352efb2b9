"""What a session's steps amount to, and the way back from silence that was made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from stt_service.engine.events import Event, Token, Word
from stt_service.engine.model import FloatArray, ModelInfo
from stt_service.engine.pauses import VadOptions
from stt_service.engine.repeats import Repeats
from stt_service.engine.timeline import Timeline
from stt_service.engine.turns import TurnTracker
from stt_service.engine.words import WordAssembler


@dataclass
class _Course:
    """Where the steps have led."""

    timeline: Timeline
    words: WordAssembler
    turns: TurnTracker
    repeats: Repeats

    @classmethod
    def begin(cls, info: ModelInfo, vad: VadOptions) -> _Course:
        timeline = Timeline(info)
        words = WordAssembler(info, timeline)
        return cls(timeline, words, TurnTracker(info, vad, timeline, words), Repeats())

    def fork(self) -> _Course:
        """A copy that goes its own way."""
        timeline = self.timeline.fork()
        words = self.words.fork(timeline)
        return _Course(timeline, words, self.turns.fork(timeline, words), self.repeats.fork())


@dataclass
class _Detour:
    """Steps that were made up where the sound goes on, perhaps: what they say is told, and then
    they never were."""

    before: _Course
    told_words: int = 0
    # The last word, which may go on.
    held: list[Event] = field(default_factory=list[Event])


class Hearing:
    """One session's steps in, and out of them what its caller is told.

    In a tail the model hears silence where the caller may only be late. So where a tail begins
    amid sound it is a detour: `leave` before it, and `come_back` when there is more audio, which
    is then heard as if there had been no silence. What was told is not told again.
    """

    def __init__(self, info: ModelInfo, vad: VadOptions) -> None:
        self._course = _Course.begin(info, vad)
        self._detour: _Detour | None = None

    @property
    def heard_s(self) -> float:
        """Length of the audio that the model has heard."""
        return self._course.timeline.heard_s

    @property
    def mid_word(self) -> bool:
        """Whether the latest step announced or continued a word."""
        return self._course.words.mid_word

    @property
    def holds_word(self) -> bool:
        """Whether the end of a word is known and not told, because it may go on."""
        return self._detour is not None and bool(self._detour.held)

    @property
    def ends_in_sound(self) -> bool:
        """Whether the audio so far breaks off where it is not quiet."""
        return self._course.timeline.ends_in_sound

    @property
    def _breaks_off(self) -> bool:
        return self._detour is not None and self.ends_in_sound

    @property
    def is_away(self) -> bool:
        """Whether there is a way back."""
        return self._detour is not None

    def leave(self) -> None:
        """What follows may have to be undone."""
        self._detour = _Detour(self._course)
        self._course = self._course.fork()

    def come_back(self) -> None:
        """Undo the steps since `leave`."""
        assert self._detour is not None
        before = self._detour.before
        before.turns.take_over(self._course.turns)
        before.repeats.expect(self._detour.told_words, self._course.timeline.heard_s)
        self._course, self._detour = before, None

    def stay(self) -> None:
        """There is no way back any more."""
        assert self._detour is not None and not self._detour.held
        self._detour = None

    def change_vad(self, vad: VadOptions) -> None:
        """Look for other pauses from the next step on."""
        self._course.turns.change(vad)
        if self._detour is not None:
            self._detour.before.turns.change(vad)

    def take(
        self,
        audio: FloatArray | None,
        text_id: int,
        probability: float,
        pauses: Sequence[float],
        *,
        is_real: bool,
        in_stall: bool = False,
    ) -> list[Event]:
        """Take one step: the audio in it, None where it was silence, and what the model said.

        `is_real` says whether silence in it is the caller's; `in_stall` that the last word, in
        which the audio breaks off, is not told yet.
        """
        course = self._course
        if audio is None:
            course.timeline.append_silence()
        else:
            course.timeline.append_audio(audio)
        written = course.words.feed(text_id, probability)
        events = course.repeats.leave_out(written)
        if _has_token(written):
            course.turns.note_speech(is_new=_has_token(events))
        breaks_off = in_stall and self._breaks_off
        told = self._note(events, holds_last_word=breaks_off)
        return told + course.turns.feed(told, pauses, is_real=is_real, holds_pause=breaks_off)

    def settle(self, *, in_stall: bool = False) -> list[Event]:
        """Tell every word so far, and close the turn; not in a stall that breaks off a word."""
        course = self._course
        is_open = self.holds_word or course.words.open_since_s is not None
        if in_stall and self._breaks_off and is_open:
            return []
        events = course.repeats.leave_out(course.words.flush())
        told = self._note(events)
        return told + course.turns.close(told)

    def _note(self, events: list[Event], *, holds_last_word: bool = False) -> list[Event]:
        """What is told of these events, and of those that were held."""
        if self._detour is None:
            return events
        events = self._detour.held + events
        end = _find_last_word(events) if holds_last_word else len(events)
        self._detour.held = events[end:]
        self._detour.told_words += sum(isinstance(event, Word) for event in events[:end])
        return events[:end]


def _has_token(events: Sequence[Event]) -> bool:
    return any(isinstance(event, Token) for event in events)


def _find_last_word(events: Sequence[Event]) -> int:
    """The first event of the word that no other follows. Its end may have been heard and be a dip
    within it."""
    ends = [number for number, event in enumerate(events[:-1], 1) if isinstance(event, Word)]
    return ends[-1] if ends else 0
