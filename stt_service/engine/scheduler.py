"""Chooses who is stepped next and turns a step's output into events. Pure: no threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from stt_service.engine.admission import AdmissionQueue, Answer, Opening
from stt_service.engine.errors import (
    BrokenOutput,
    Draining,
    EngineError,
    NoFreeSlot,
    Overloaded,
)
from stt_service.engine.events import Event
from stt_service.engine.frames import Frame
from stt_service.engine.model import BoolArray, ModelInfo, StepOutput, StepPlan
from stt_service.engine.options import SessionOptions
from stt_service.engine.session_state import Mark, SessionState
from stt_service.engine.slots import Lease, SlotTable


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one session is told.

    Since its opening, `items_done` frames and marks were worked off and `processed_s` of its audio
    was heard. `stepped` says whether a step made the events, or a mark that needed none.
    """

    session_id: str
    events: list[Event]
    items_done: int
    processed_s: float
    stepped: bool


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """A session has ended without its last words, and why."""

    session_id: str
    error: EngineError


@dataclass(frozen=True)
class Plan(StepPlan):
    """A step, who is stepped in it, and what can be delivered without it.

    `frames` holds, for each stepped slot, its lease and the frame in its row of `pcm`. An idle plan
    steps nobody.
    """

    frames: tuple[tuple[Lease, Frame], ...]
    deliveries: tuple[Delivery, ...]

    @property
    def is_idle(self) -> bool:
        """Whether nobody has a frame."""
        return not self.frames


class Scheduler:
    """Leases slots to sessions and batches one frame of each into a step.

    Use: any number of `open`, `push`, `close`; then `admit`; then `plan`; step the plan unless it
    is idle; then `apply` it with the step's output.
    """

    def __init__(self, info: ModelInfo, slots: int) -> None:
        self._info = info
        self._table = SlotTable(slots)
        self._queue = AdmissionQueue()
        self._states: dict[Lease, SessionState] = {}
        self._draining = False
        # One buffer for all steps: the row of a masked slot keeps stale samples, which nobody uses.
        self._pcm = np.zeros((slots, 1, info.frame_samples), dtype=np.float32)

    def open(self, session_id: str, options: SessionOptions) -> None:
        """Queue a session for admission; `admit` answers it, at once unless it wants to wait."""
        self._queue.add(Opening(session_id, options))

    @property
    def could_admit(self) -> bool:
        """Whether somebody waits and a slot is free."""
        return len(self._queue) > 0 and self._table.free > 0

    def admit(self, behind_s: float = 0.0, max_behind_s: float = inf) -> list[Answer]:
        """Lease slots to those who wait, and refuse those who do not want to wait longer.

        Nobody is admitted while the engine is further behind real time than it may be.
        """
        if self._draining:
            return self._queue.refuse_all(Draining)
        if behind_s > max_behind_s:
            return self._queue.admit(lambda _: None, lambda: Overloaded(behind_s))
        return self._queue.admit(self._lease, lambda: NoFreeSlot(self._table.total))

    def _lease(self, opening: Opening) -> Lease | None:
        lease = self._table.lease()
        if lease is not None:
            self._states[lease] = SessionState(opening.session_id, opening.options, self._info)
        return lease

    def push(self, lease: Lease, items: Sequence[Frame | Mark]) -> None:
        """Queue frames and marks; those of a session that has ended are dropped."""
        state = self._states.get(lease)
        if state is not None:
            state.push(items)

    def close(self, lease: Lease) -> None:
        """End a session without its last words; its slot is free at once."""
        self._states.pop(lease, None)
        self._table.release(lease)

    def abandon(self, session_id: str) -> None:
        """Close the session of a caller that left before it received its lease, if it got one."""
        self._queue.withdraw(session_id)
        for lease, state in list(self._states.items()):
            if state.session_id == session_id:
                self.close(lease)

    def drain(self) -> None:
        """Refuse every session from now on."""
        self._draining = True

    def plan(self) -> Plan:
        """Complete the marks that need no step, and take one frame from every session that has
        one."""
        active = np.zeros(self._table.total, dtype=np.bool_)
        reset = np.zeros(self._table.total, dtype=np.bool_)
        frames: list[tuple[Lease, Frame]] = []
        deliveries: list[Delivery] = []
        leaving: list[int] = []
        returning: list[int] = []
        for lease, state in list(self._states.items()):
            items_done = state.items_done
            events = state.reach_marks()
            if state.items_done > items_done:
                deliveries.append(self._deliver(lease, state, events, stepped=False))
            if state.finished:
                continue
            frame = state.take_frame()
            if frame is None:
                continue
            frames.append((lease, frame))
            self._pcm[lease.slot, 0] = frame.pcm
            active[lease.slot] = True
            reset[lease.slot] = not state.stepped
            if state.is_leaving:
                leaving.append(lease.slot)
            if state.is_returning:
                returning.append(lease.slot)
        return Plan(
            self._pcm,
            active,
            reset,
            tuple(frames),
            tuple(deliveries),
            leaving=tuple(leaving),
            returning=tuple(returning),
        )

    def apply(
        self, plan: Plan, output: StepOutput, broken: BoolArray
    ) -> list[Delivery | SessionFailed]:
        """All deliveries of a plan that was stepped, each session's in order.

        The sessions of `broken` rows, shape [slots], end here.
        """
        outcomes: list[Delivery | SessionFailed] = [*plan.deliveries]
        for lease, frame in plan.frames:
            state = self._states[lease]
            if broken[lease.slot]:
                self.close(lease)
                outcomes.append(SessionFailed(state.session_id, BrokenOutput()))
                continue
            events = state.apply(
                frame,
                int(output.text_ids[lease.slot]),
                float(output.probabilities[lease.slot]),
                output.pauses[lease.slot],
            )
            outcomes.append(self._deliver(lease, state, events, stepped=True))
        return outcomes

    def _deliver(
        self, lease: Lease, state: SessionState, events: list[Event], *, stepped: bool
    ) -> Delivery:
        if state.finished:
            self.close(lease)
        return Delivery(state.session_id, events, state.items_done, state.processed_s, stepped)
