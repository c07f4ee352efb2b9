"""One session as the model thread sees it: its queue, its tail, its text."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stt_service.engine.events import Event, Final, Flushed, Step, Token, Utterance
from stt_service.engine.frames import Frame
from stt_service.engine.hearing import Hearing
from stt_service.engine.model import FloatArray, ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Flush:
    """Send every word of the audio before, then Flushed.

    `rest` is audio that does not fill a frame; the next frame begins with it, too.
    """

    flush_id: str
    rest: Frame | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """No audio comes just now: send every word so far, but one that may go on. `rest` is as in
    Flush."""

    rest: Frame | None = None


@dataclass(frozen=True, slots=True)
class Settle:
    """After a stall there is no audio still: send that word, too."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Send every word, then Final; nothing comes after."""


@dataclass(frozen=True, slots=True)
class ChangeVad:
    """Look for other pauses in the audio after this."""

    vad: VadOptions


Mark = Flush | Stall | Settle | Finish | ChangeVad


class SessionState:
    """Takes frames and marks in order, gives out one frame a step, and turns steps into events.

    A mark is reached when every frame before it was stepped. It then has the slot step silence, the
    tail, until the model has written every word, and is complete. A slot that is not stepped keeps
    its tail: the count is the slot's own.

    The tail of a flush or a stall amid sound is a detour. For the frame that was just taken,
    `is_leaving` says that the slot may come back to its state before it, and `is_returning` that it
    does so now.
    """

    def __init__(self, session_id: str, options: SessionOptions, info: ModelInfo) -> None:
        self.session_id = session_id
        self.stepped = False
        self.finished = False
        self.is_leaving = False
        self.is_returning = False
        # Frames heard and marks completed; the session may send as many new ones.
        self.items_done = 0
        self._info = info
        self._queue: deque[Frame | Mark] = deque()
        self._hearing = Hearing(info, options.vad)
        self._transcript = Transcript()
        self._wants_steps = options.wants_steps
        self._wants_utterances = options.wants_utterances
        self._steps_told = 0
        self._prefix_left = info.prefix_steps
        self._silence_left = 0
        self._extension_left = 0
        self._mark: Mark | None = None
        # Whether audio was heard since the last tail; otherwise there is nothing to flush.
        self._tail_due = False
        # The tail begins with this frame, and with the next one that is taken.
        self._rest: Frame | None = None
        self._tail_begins = False
        # Samples of the next frame that the model has heard already, as a rest.
        self._rest_heard = 0
        self._rest_heard_before_leaving = 0
        self._rest_pauses: Sequence[float] = ()

    @property
    def processed_s(self) -> float:
        """Length of the audio that the model has heard."""
        return self._hearing.heard_s

    def push(self, items: Iterable[Frame | Mark]) -> None:
        self._queue.extend(items)

    def reach_marks(self) -> list[Event]:
        """Start the tail of the mark that comes next; complete the marks that need none."""
        events: list[Event] = []
        while self._mark is None and self._queue and not self.finished:
            head = self._queue[0]
            if isinstance(head, Frame):
                if head.audio_samples > self._rest_heard:
                    break
                self._queue.popleft()
                mid_word = self._hearing.mid_word or self._hearing.holds_word
                events += self._note_step(self._rest_pauses, mid_word=mid_word)
                continue
            self._queue.popleft()
            if isinstance(head, Stall | Settle) and self._audio_waits:
                # It is over by now; a model that is behind need not step its tail as well.
                self.items_done += 1
                continue
            self._mark = head
            if self._needs_tail(self._mark):
                self._begin_tail(self._mark)
            else:
                events += self._complete_mark()
        return events

    @property
    def _audio_waits(self) -> bool:
        return any(isinstance(item, Frame) for item in self._queue)

    def take_frame(self) -> Frame | None:
        """The next frame to step, made-up silence included; None while there is none."""
        self.is_leaving = self.is_returning = False
        if self._prefix_left:
            self._prefix_left -= 1
            return Frame.silence(self._info.frame_samples)
        if self._rest is not None or self._silence_left:
            if self._tail_begins:
                self._begin_detour_if_due()
            return self._take_tail()
        if self._mark is None and self._queue:
            head = self._queue[0]
            if isinstance(head, Frame):
                self._queue.popleft()
                self._come_back_if_away()
                return head
        return None

    def apply(
        self, frame: Frame, text_id: int, probability: float, pauses: FloatArray
    ) -> list[Event]:
        """Take what the model said when it heard `frame`; `pauses` has shape [VAD heads]."""
        self.stepped = True
        is_own = self._mark is None and not frame.is_silence
        # In a stall the silence is real, because nothing arrives; in a flush it is made up.
        is_real = not frame.is_silence or isinstance(self._mark, Stall)
        probabilities: list[float] = pauses.tolist()
        events = self._hearing.take(
            None if frame.is_silence else frame.audio[self._rest_heard :],
            text_id,
            probability,
            probabilities,
            is_real=is_real,
            in_stall=isinstance(self._mark, Stall),
        )
        events = self._tell(events)
        if is_own:
            self._rest_heard = 0
            self._tail_due = True
            # It comes before what was written in it.
            mid_word = self._hearing.mid_word or any(isinstance(event, Token) for event in events)
            events[:0] = self._note_step(probabilities, mid_word=mid_word)
        elif not frame.is_silence:
            self._rest_heard, self._rest_pauses = frame.audio_samples, probabilities
        if self._mark is not None and not self._silence_left:
            if self._hearing.mid_word and self._extension_left:
                self._extension_left -= 1
                self._silence_left = 1
            else:
                events += self._complete_mark()
        return events

    def _note_step(self, pauses: Sequence[float], *, mid_word: bool) -> list[Event]:
        """A frame of the caller's own was heard."""
        self.items_done += 1
        if not self._wants_steps:
            return []
        self._steps_told += 1
        return [Step(self._steps_told - 1, tuple(pauses), mid_word)]

    def _needs_tail(self, mark: Mark) -> bool:
        match mark:
            case Flush(rest=rest) | Stall(rest=rest):
                return self._tail_due or (
                    rest is not None and rest.audio_samples > self._rest_heard
                )
            case Finish():
                return self._tail_due
            case _:
                return False

    def _begin_tail(self, mark: Mark) -> None:
        self._rest = mark.rest if isinstance(mark, Flush | Stall) else None
        self._silence_left = self._info.tail_steps
        self._extension_left = self._info.extension_steps
        self._tail_due = False
        self._tail_begins = True

    def _take_tail(self) -> Frame:
        if self._rest is not None:
            rest, self._rest = self._rest, None
            return rest
        self._silence_left -= 1
        return Frame.silence(self._info.frame_samples)

    def _begin_detour_if_due(self) -> None:
        self._tail_begins = False
        # The rest of an earlier tail has become longer.
        self._come_back_if_away()
        # Nothing comes after Finish. Whether a rest is quiet is known when it was heard.
        may_go_on = self._rest is not None or self._hearing.ends_in_sound
        if may_go_on and not isinstance(self._mark, Finish):
            self._hearing.leave()
            self._rest_heard_before_leaving = self._rest_heard
            self.is_leaving = True

    def _come_back_if_away(self) -> None:
        if self._hearing.is_away:
            self._hearing.come_back()
            self._rest_heard = self._rest_heard_before_leaving
            self.is_returning = True

    def _tell(self, events: list[Event]) -> list[Event]:
        self._transcript.add(events)
        if self._wants_utterances:
            return events
        return [event for event in events if not isinstance(event, Utterance)]

    def _complete_mark(self) -> list[Event]:
        mark = self._mark
        self._mark = None
        self.items_done += 1
        if isinstance(mark, ChangeVad):
            self._hearing.change_vad(mark.vad)
            return []
        events = self._tell(self._hearing.settle(in_stall=isinstance(mark, Stall)))
        match mark:
            case Flush(flush_id):
                events.append(Flushed(flush_id))
            case Finish():
                self.finished = True
                self._transcript.close()
                said = self._transcript
                heard_s = self._hearing.heard_s
                events.append(Final(said.text, said.words, heard_s, said.is_cut))
            case _:
                pass
        # In a gap between words silence does no harm.
        if self._hearing.is_away and not self._hearing.ends_in_sound:
            self._hearing.stay()
        return events
