"""A session as its caller holds it, on the event loop's side of the thread boundary."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stt_service.engine.errors import EngineError, IdleTimeout, InvalidOptions
from stt_service.engine.events import Event, Final
from stt_service.engine.frames import Frame, Framer
from stt_service.engine.pauses import DEFAULT_PAUSE_S, DEFAULT_THRESHOLD
from stt_service.engine.scheduler import Delivery
from stt_service.engine.session_state import Finish, Flush, Mark, Stall

DEFAULT_IDLE_TIMEOUT_S = 10.0
MAX_IDLE_TIMEOUT_S = 600.0
# Audio is read no further while this many frames and marks wait for the model: 4 s.
MAX_ITEMS_WAITING = 50
# Nor while this many updates wait for the caller to read them.
MAX_UPDATES_WAITING = 512
# Flush ids are kept until they are answered.
MAX_FLUSH_ID_LENGTH = 256


@dataclass(frozen=True)
class SessionOptions:
    """What the caller wants. `sample_rate_hz` 0 is the model's rate, `stall_timeout_s` None its
    delay. InvalidOptions where a number is out of range."""

    encoding: str = "pcm_f32le"
    sample_rate_hz: int = 0
    pause_s: float = DEFAULT_PAUSE_S
    pause_threshold: float = DEFAULT_THRESHOLD
    idle_timeout_s: float = DEFAULT_IDLE_TIMEOUT_S
    stall_timeout_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.idle_timeout_s <= MAX_IDLE_TIMEOUT_S:
            raise InvalidOptions(
                "idle_timeout",
                f"idle_timeout is {self.idle_timeout_s:g} s; "
                f"it must be above 0 and at most {MAX_IDLE_TIMEOUT_S:g} s",
            )
        if self.stall_timeout_s is not None and self.stall_timeout_s <= 0:
            raise InvalidOptions(
                "stall_timeout", f"stall_timeout is {self.stall_timeout_s:g} s, not above 0"
            )


@dataclass(frozen=True, slots=True)
class Update:
    """An event, how far the model is in the session's audio, and how much audio waits for it.

    `step_ended_at` is the wall clock (seconds since the epoch) at the end of the step behind the
    event; None where no step was needed.
    """

    event: Event
    processed_s: float
    lag_s: float
    step_ended_at: float | None


class Session:
    """One audio stream in, one event stream out; made by Engine.open_session.

    Iterate over it for updates; the iteration ends after Final, or raises the
    EngineError that ended the session. Every user calls `close` at last.
    """

    def __init__(
        self,
        session_id: str,
        framer: Framer,
        push: Callable[[Sequence[Frame | Mark]], None],
        on_close: Callable[[], None],
        *,
        idle_timeout_s: float,
        stall_timeout_s: float,
    ) -> None:
        self.id = session_id
        self._framer = framer
        self._push_items = push
        self._on_close = on_close
        self._idle_timeout_s = idle_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._items_pushed = 0
        self._items_done = 0
        # Bounded: items that wait are, and each makes a few updates at most.
        self._updates: deque[Update] = deque()
        self._changed = asyncio.Event()
        self._pushing = False
        self._input_ended = False
        self._over = False
        self._closed = False
        self._error: EngineError | None = None
        self._processed_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._audio_at = self._loop.time()
        self._waiting_for_room = False
        self._stalled = True
        self._silence_timer = self._loop.call_later(idle_timeout_s, self._watch_silence)

    async def push_audio(self, data: bytes) -> None:
        """Hand over audio of any length; waits while the session's buffer is full.

        Raises InvalidAudio, and whatever ended the session meanwhile.
        """
        if self._input_ended:
            return
        self._pushing = True
        try:
            received_s = self._framer.received_s
            for frames in self._framer.push(data):
                # A message without a sample is no audio: it does not keep the session alive.
                if self._framer.received_s > received_s:
                    self._note_audio()
                await self._wait_for_room()
                self._push(frames)
        finally:
            self._pushing = False
        if self._input_ended:
            self._push_finish()

    async def flush(self, flush_id: str) -> None:
        """Ask for every word of the audio pushed so far, then Flushed."""
        if len(flush_id) > MAX_FLUSH_ID_LENGTH:
            raise InvalidOptions(
                "flush.flush_id",
                f"flush_id has {len(flush_id)} characters; at most {MAX_FLUSH_ID_LENGTH} are kept",
            )
        await self._wait_for_room()
        if self._input_ended:
            return
        self._push([*self._framer.cut_rest(), Flush(flush_id)])

    def finish(self, reason: EngineError | None = None) -> None:
        """End the audio: the last words and Final follow, then `reason` is raised if given."""
        if self._input_ended:
            return
        self._input_ended = True
        self._error = self._error or reason
        self._silence_timer.cancel()
        # A message that is still being read belongs to what was said.
        if not self._pushing:
            self._push_finish()

    def fail(self, error: EngineError) -> None:
        """End the session now: what has arrived can still be read, then `error` is raised."""
        self._error = self._error or error
        self._end()

    def close(self) -> None:
        """Free the slot, whatever the state; words still due are dropped."""
        if self._closed:
            return
        self._closed = True
        self._end()
        self._on_close()

    def receive(self, delivery: Delivery, step_ended_at: float | None) -> None:
        """Take what the engine delivers."""
        self._items_done = delivery.items_done
        self._processed_s = delivery.processed_s
        lag_s = self.lag_s
        for event in delivery.events:
            self._updates.append(Update(event, delivery.processed_s, lag_s, step_ended_at))
            if isinstance(event, Final):
                self._end()
        # Most steps say nothing: then only a pusher that waits for room has to look.
        if delivery.events or self._waiting_for_room:
            self._wake()

    @property
    def processed_s(self) -> float:
        """Audio that the model has heard, in seconds."""
        return self._processed_s

    @property
    def items_waiting(self) -> int:
        """Frames and marks on their way to the model."""
        return self._items_pushed - self._items_done

    @property
    def lag_s(self) -> float:
        """Audio received and not yet stepped, in seconds."""
        return max(0.0, self._framer.received_s - self._processed_s)

    def __aiter__(self) -> "Session":
        return self

    async def __anext__(self) -> Update:
        while not self._updates:
            if self._over:
                raise self._error or StopAsyncIteration
            await self._wait_for_change()
        update = self._updates.popleft()
        if len(self._updates) == MAX_UPDATES_WAITING - 1:
            self._wake()
        return update

    def _push_finish(self) -> None:
        self._push([*self._framer.cut_rest(), Finish()])

    def _push(self, items: Sequence[Frame | Mark]) -> None:
        if items and not self._over:
            self._items_pushed += len(items)
            self._push_items(items)

    def _end(self) -> None:
        self._over = self._input_ended = True
        self._silence_timer.cancel()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _wait_for_change(self) -> None:
        # Everyone who waits looks again at each change; a change in between is not missed, since
        # nothing runs between the look and the wait.
        self._changed.clear()
        await self._changed.wait()

    async def _wait_for_room(self) -> None:
        self._waiting_for_room = True
        try:
            while not self._over and not self._has_room():
                await self._wait_for_change()
                # Who is held back is not silent.
                self._audio_at = self._loop.time()
        finally:
            self._waiting_for_room = False
        if self._over and self._error is not None:
            raise self._error

    def _has_room(self) -> bool:
        return self.items_waiting < MAX_ITEMS_WAITING and len(self._updates) < MAX_UPDATES_WAITING

    def _note_audio(self) -> None:
        self._audio_at = self._loop.time()
        if self._stalled and not self._input_ended:
            self._stalled = False
            self._silence_timer.cancel()
            timeout_s = min(self._stall_timeout_s, self._idle_timeout_s)
            self._silence_timer = self._loop.call_later(timeout_s, self._watch_silence)

    def _watch_silence(self) -> None:
        """Flush when audio stalls, end when it stays away. One timer, set anew when it fires."""
        now = self._loop.time()
        if self._waiting_for_room:
            self._audio_at = now
        silent_for_s = now - self._audio_at
        if silent_for_s >= self._idle_timeout_s:
            self.finish(IdleTimeout(self._idle_timeout_s))
            return
        if not self._stalled and silent_for_s >= self._stall_timeout_s:
            self._stalled = True
            self._push([*self._framer.cut_rest(), Stall()])
        timeout_s = self._idle_timeout_s if self._stalled else self._stall_timeout_s
        due = self._audio_at + min(timeout_s, self._idle_timeout_s)
        self._silence_timer = self._loop.call_at(due, self._watch_silence)
