"""A session as its caller holds it, on the event loop's side of the thread boundary."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from stt_service.engine.allowance import Allowance
from stt_service.engine.errors import EngineError, IdleTimeout, InvalidOptions
from stt_service.engine.events import Event, Final
from stt_service.engine.frames import Frame, Framer
from stt_service.engine.pauses import VadOptions
from stt_service.engine.pcm import PIECE_BYTES
from stt_service.engine.scheduler import Delivery
from stt_service.engine.session_state import ChangeVad, Finish, Flush, Mark, Settle, Stall
from stt_service.engine.silence import SilenceWatch

# Stop reading audio while this many frames and marks wait for the model: 4 s.
MAX_ITEMS_WAITING = 50
# Also stop while this many updates wait for the caller.
MAX_UPDATES_WAITING = 512
# Flush ids are stored until they are answered.
MAX_FLUSH_ID_LENGTH = 256


class Phase(Enum):
    """Where a session is in its life; it only goes forward."""

    OPEN = 1
    """Takes audio and flushes."""
    FINISHING = 2
    """Takes no more; the last words are on their way."""
    OVER = 3
    """Produces no more updates; those that wait can still be read."""
    CLOSED = 4
    """Has given its slot back."""


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
        clock: Callable[[], float],
        *,
        idle_timeout_s: float,
        stall_timeout_s: float,
        allowance: Allowance,
    ) -> None:
        self.id = session_id
        self._framer = framer
        self._allowance = allowance
        self._push_items = push
        self._on_close = on_close
        self._phase = Phase.OPEN
        self._error: EngineError | None = None
        self._items_pushed = 0
        self._items_done = 0
        # Bounded, because the items in flight are and each makes at most a few updates.
        self._updates: deque[Update] = deque()
        self._processed_s = 0.0
        self._changed = asyncio.Event()
        # Calls of `push_audio` in progress, and calls waiting for room; at most one of each.
        self._pushing = 0
        # Ended for a reason while a message may still be pushed.
        self._is_cut = False
        self._waiting_for_room = 0
        self._silence = SilenceWatch(
            clock,
            stall_timeout_s,
            idle_timeout_s,
            on_stall=self._push_stall,
            on_settle=lambda: self._push([Settle()]),
            on_idle=lambda: self.finish(IdleTimeout(idle_timeout_s)),
        )

    async def push_audio(self, data: bytes) -> None:
        """Hand over audio of any length; waits while the session's buffer is full.

        Raises InvalidAudio, and whatever ended the session meanwhile.
        """
        if self._phase is not Phase.OPEN:
            return
        self._pushing += 1
        try:
            received_s = counted_s = self._framer.received_s
            for frames in self._framer.push(data):
                # A message without a complete sample does not count as audio.
                if self._framer.received_s > received_s:
                    self._silence.note_audio(self._framer.burst_s)
                if self._allowance.wait_s:
                    await self._wait_for_allowance()
                self._allowance.take(self._framer.received_s - counted_s)
                counted_s = self._framer.received_s
                if self._is_over or not self._has_room():
                    await self._wait_for_room()
                if self._is_over or self._is_cut:
                    break
                self._push(frames)
                # A large message may hold little audio (Ogg pages of something else), or none.
                if not frames and len(data) > PIECE_BYTES:
                    await asyncio.sleep(0)
        finally:
            self._pushing -= 1
        self._push_finish_if_due()

    async def flush(self, flush_id: str) -> None:
        """Ask for every word of the audio pushed so far, then Flushed."""
        if len(flush_id) > MAX_FLUSH_ID_LENGTH:
            raise InvalidOptions(
                "flush.flush_id",
                f"flush_id has {len(flush_id)} characters; at most {MAX_FLUSH_ID_LENGTH} are kept",
            )
        await self._wait_for_room()
        if self._phase is Phase.OPEN:
            frames, rest = self._framer.show_rest()
            self._push([*frames, Flush(flush_id, rest)])

    async def change_vad(self, vad: VadOptions) -> None:
        """Look for other pauses in the audio from here on. The caller has checked that the model
        can find them."""
        await self._wait_for_room()
        if self._phase is Phase.OPEN:
            self._push([ChangeVad(vad)])

    def finish(self, reason: EngineError | None = None) -> None:
        """End the audio: the last words and Final follow, then `reason` is raised if given.

        Without a reason, a message that is being pushed is heard to its end; with one, what of it
        found no room yet is not heard.
        """
        if self._phase is not Phase.OPEN:
            return
        self._phase = Phase.FINISHING
        self._error = self._error or reason
        self._is_cut = reason is not None
        self._silence.stop()
        self._wake()
        self._push_finish_if_due()

    def fail(self, error: EngineError) -> None:
        """End the session now: what has arrived can still be read, then `error` is raised."""
        self._error = self._error or error
        self._end()

    def close(self) -> None:
        """Free the slot, whatever the state; words still due are dropped."""
        if self._phase is Phase.CLOSED:
            return
        self._end()
        self._phase = Phase.CLOSED
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
        # Most steps produce no event; then only a caller waiting for room needs to be woken.
        if delivery.events or self._waiting_for_room:
            self._wake()

    @property
    def processed_s(self) -> float:
        """Audio that the model has heard, in seconds."""
        return self._processed_s

    @property
    def holds_slot(self) -> bool:
        """Whether it has its slot still: it gives it back with Final, however late that is read."""
        return self._phase in (Phase.OPEN, Phase.FINISHING)

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
            if self._is_over:
                raise self._error or StopAsyncIteration
            await self._wait_for_change()
        update = self._updates.popleft()
        if len(self._updates) == MAX_UPDATES_WAITING - 1:
            self._wake()
        return update

    def _push_stall(self) -> None:
        frames, rest = self._framer.show_rest()
        self._push([*frames, Stall(rest)])

    def _push_finish_if_due(self) -> None:
        # A message that is still being pushed belongs to the audio before the end.
        if self._phase is Phase.FINISHING and not self._pushing:
            self._push([*self._framer.cut_rest(), Finish()])

    def _push(self, items: Sequence[Frame | Mark]) -> None:
        if items and not self._is_over:
            self._items_pushed += len(items)
            self._push_items(items)

    @property
    def _is_over(self) -> bool:
        return self._phase in (Phase.OVER, Phase.CLOSED)

    def _end(self) -> None:
        if self._phase is not Phase.CLOSED:
            self._phase = Phase.OVER
        self._silence.stop()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _wait_for_change(self) -> None:
        # Waiters check their condition again after each change. No change is missed: nothing else
        # runs between the check and the wait.
        self._changed.clear()
        await self._changed.wait()

    async def _wait_for_room(self) -> None:
        if self._must_wait_for_room():
            self._waiting_for_room += 1
            try:
                with self._silence.held_back():
                    while self._must_wait_for_room():
                        await self._wait_for_change()
            finally:
                self._waiting_for_room -= 1
        if self._is_over and self._error is not None:
            raise self._error

    async def _wait_for_allowance(self) -> None:
        """Wait until the caller may be heard on."""
        # It is this side that does not listen, so it counts as no silence of the caller's.
        with self._silence.held_back():
            while not self._is_over and not self._is_cut and (wait_s := self._allowance.wait_s):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wait_for_change()

    def _must_wait_for_room(self) -> bool:
        return not self._is_over and not self._is_cut and not self._has_room()

    def _has_room(self) -> bool:
        return self.items_waiting < MAX_ITEMS_WAITING and len(self._updates) < MAX_UPDATES_WAITING
