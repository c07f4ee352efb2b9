"""One session as the model thread sees it: its queue, its tail, its text."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from stt_service.engine.events import Event, Final, Flushed, Step, Token, Utterance
from stt_service.engine.frames import Frame
from stt_service.engine.model import FloatArray, ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.timeline import Timeline
from stt_service.engine.turns import TurnTracker
from stt_service.engine.words import WordAssembler

# The tail is the delay plus a margin, so that words the model writes late still arrive.
TAIL_MARGIN_S = 0.25
# If a word is still being written at the end of the tail, the tail is extended by up to this.
TAIL_EXTENSION_S = 2.0


@dataclass(frozen=True, slots=True)
class Flush:
    """Send every word of the audio before, then Flushed."""

    flush_id: str


@dataclass(frozen=True, slots=True)
class Stall:
    """No audio comes just now: send every word so far."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Send every word, then Final; nothing comes after."""


@dataclass(frozen=True, slots=True)
class ChangeVad:
    """Look for other pauses in the audio after this."""

    vad: VadOptions


Mark = Flush | Stall | Finish | ChangeVad


class SessionState:
    """Takes frames and marks in order, gives out one frame a step, and turns steps into events.

    A mark is reached when every frame before it was stepped. It then has the slot step silence, the
    tail, until the model has written every word, and is complete. A slot that is not stepped keeps
    its tail: the count is the slot's own.
    """

    def __init__(self, session_id: str, options: SessionOptions, info: ModelInfo) -> None:
        self.session_id = session_id
        self.stepped = False
        self.finished = False
        # Frames heard and marks completed; the session may send as many new ones.
        self.items_done = 0
        self._info = info
        self._queue: deque[Frame | Mark] = deque()
        self._timeline = Timeline(info)
        self._words = WordAssembler(info, self._timeline)
        self._turns = TurnTracker(info, options.vad, self._timeline, self._words)
        self._wants_steps = options.wants_steps
        self._wants_utterances = options.wants_utterances
        self._steps_told = 0
        self._silence_left = info.prefix_steps
        self._extension_left = 0
        self._mark: Mark | None = None
        # Whether audio was heard since the last tail; otherwise there is nothing to flush.
        self._tail_due = False

    @property
    def processed_s(self) -> float:
        """Length of the audio that the model has heard."""
        return self._timeline.heard_s

    def push(self, items: Iterable[Frame | Mark]) -> None:
        self._queue.extend(items)

    def reach_marks(self) -> list[Event]:
        """Start the tail of the mark that comes next; complete the marks that need none."""
        events: list[Event] = []
        while self._mark is None and self._queue and not isinstance(self._queue[0], Frame):
            if self.finished:
                break
            self._mark = self._take_mark()
            if self._tail_due and not isinstance(self._mark, ChangeVad):
                self._silence_left += self._info.count_steps(self._info.delay_s + TAIL_MARGIN_S)
                self._extension_left = self._info.count_steps(TAIL_EXTENSION_S)
                self._tail_due = False
            else:
                events += self._complete_mark()
        return events

    def take_frame(self) -> Frame | None:
        """The next frame to step, made-up silence included; None while there is none."""
        if self._silence_left:
            self._silence_left -= 1
            return Frame.silence(self._info.frame_samples)
        if self._mark is None and self._queue:
            head = self._queue[0]
            if isinstance(head, Frame):
                self._queue.popleft()
                return head
        return None

    def apply(
        self, frame: Frame, text_id: int, probability: float, pauses: FloatArray
    ) -> list[Event]:
        """Take what the model said when it heard `frame`; `pauses` has shape [VAD heads]."""
        self.stepped = True
        if frame.is_silence:
            self._timeline.append_silence()
        else:
            self._timeline.append_audio(frame.audio)
            self._tail_due = True
            self.items_done += 1
        events = self._words.feed(text_id, probability)
        # In a stall the silence is real, because nothing arrives; in a flush it is made up.
        is_real = not frame.is_silence or isinstance(self._mark, Stall)
        probabilities: list[float] = pauses.tolist()
        events += self._select(self._turns.feed(events, probabilities, is_real=is_real))
        if self._wants_steps and not frame.is_silence:
            # It comes before what was written in it.
            mid_word = self._words.mid_word or any(isinstance(event, Token) for event in events)
            events.insert(0, Step(self._steps_told, tuple(probabilities), mid_word))
            self._steps_told += 1
        if self._mark is not None and not self._silence_left:
            if self._words.mid_word and self._extension_left:
                self._extension_left -= 1
                self._silence_left = 1
            else:
                events += self._complete_mark()
        return events

    def _take_mark(self) -> Mark:
        mark = self._queue.popleft()
        assert not isinstance(mark, Frame)
        return mark

    def _select(self, events: list[Event]) -> list[Event]:
        if self._wants_utterances:
            return events
        return [event for event in events if not isinstance(event, Utterance)]

    def _complete_mark(self) -> list[Event]:
        mark, self._mark = self._mark, None
        self.items_done += 1
        if isinstance(mark, ChangeVad):
            self._turns.change(mark.vad)
            return []
        events = self._words.flush()
        events += self._select(self._turns.close(events))
        match mark:
            case Flush(flush_id):
                events.append(Flushed(flush_id))
            case Finish():
                self.finished = True
                said = self._words.transcript
                heard_s = self._timeline.heard_s
                events.append(Final(said.text, said.words, heard_s, said.is_cut))
            case _:
                pass
        return events
