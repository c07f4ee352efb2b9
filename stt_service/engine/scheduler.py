"""Who is stepped next, and what each step means for whom. Pure: no thread, no clock, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from stt_service.engine.errors import Draining, EngineError, NoFreeSlot
from stt_service.engine.events import Event
from stt_service.engine.frames import Frame
from stt_service.engine.model import ModelInfo, StepOutput, StepPlan
from stt_service.engine.session_state import Mark, SessionSettings, SessionState
from stt_service.engine.slots import Lease, SlotTable


@dataclass(slots=True)
class Delivery:
    """What one session is told after one turn of the engine.

    `lease` or `refusal` answers an opening. Since the opening, `items_done` frames
    and marks were worked off and `processed_s` of the audio was heard. `stepped`
    says whether the turn made a step for this session.
    """

    session_id: str
    lease: Lease | None = None
    refusal: EngineError | None = None
    events: list[Event] = field(default_factory=list[Event])
    items_done: int = 0
    processed_s: float = 0.0
    stepped: bool = False


class Scheduler:
    """Leases slots to sessions and batches one frame of each into a step.

    Use: any number of `open`, `push`, `close`; then `plan`; if it gives a plan,
    step it and `apply` the output; then `take_deliveries`.
    """

    def __init__(self, info: ModelInfo, slots: int) -> None:
        self._info = info
        self._table = SlotTable(slots)
        self._states: dict[Lease, SessionState] = {}
        self._stepping: list[tuple[Lease, Frame]] = []
        self._deliveries: dict[str, Delivery] = {}
        self._draining = False
        # One buffer for all steps: a masked slot's row keeps what it had, which nobody reads.
        self._pcm = np.zeros((slots, 1, info.frame_samples), dtype=np.float32)

    def open(self, session_id: str, settings: SessionSettings) -> None:
        """Lease a slot to a new session, or refuse; the answer is in its delivery."""
        delivery = self._deliver_to(session_id)
        if self._draining:
            delivery.refusal = Draining()
            return
        delivery.lease = self._table.lease()
        if delivery.lease is None:
            delivery.refusal = NoFreeSlot(self._table.total)
            return
        self._states[delivery.lease] = SessionState(session_id, settings, self._info)

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
        """Close the session of a caller that left before it learned of its lease."""
        for lease, state in list(self._states.items()):
            if state.session_id == session_id:
                self.close(lease)

    def drain(self) -> None:
        """Refuse every session from now on."""
        self._draining = True

    def plan(self) -> StepPlan | None:
        """Take one frame from every session that has one; None if none has."""
        active = np.zeros(self._table.total, dtype=np.bool_)
        reset = np.zeros(self._table.total, dtype=np.bool_)
        self._stepping = []
        for lease, state in list(self._states.items()):
            marks_before = state.items_done
            events = state.reach_marks()
            if state.items_done > marks_before:
                self._settle(lease, state, events)
            if state.finished:
                continue
            frame = state.take_frame()
            if frame is None:
                continue
            self._stepping.append((lease, frame))
            self._pcm[lease.slot, 0] = frame.pcm
            active[lease.slot] = True
            reset[lease.slot] = not state.stepped
        return StepPlan(self._pcm, active, reset) if self._stepping else None

    def apply(self, output: StepOutput) -> None:
        """Turn the output of the planned step into deliveries."""
        for lease, frame in self._stepping:
            state = self._states[lease]
            events = state.apply(
                frame,
                int(output.text_ids[lease.slot]),
                float(output.probabilities[lease.slot]),
                output.pauses[lease.slot],
            )
            self._settle(lease, state, events)
            self._deliver_to(state.session_id).stepped = True
        self._stepping = []

    def take_deliveries(self) -> list[Delivery]:
        """Everything to tell since the last call, one delivery for each session."""
        deliveries, self._deliveries = list(self._deliveries.values()), {}
        return deliveries

    def _settle(self, lease: Lease, state: SessionState, events: list[Event]) -> None:
        delivery = self._deliver_to(state.session_id)
        delivery.events += events
        delivery.items_done = state.items_done
        delivery.processed_s = state.processed_s
        if state.finished:
            self.close(lease)

    def _deliver_to(self, session_id: str) -> Delivery:
        return self._deliveries.setdefault(session_id, Delivery(session_id))
