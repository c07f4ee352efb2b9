"""A real engine on the embedded checkpoint."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stt_service.config import DIGITS_CHECKPOINT, EngineLimits
from stt_service.engine.engine import Engine
from stt_service.engine.events import Final
from stt_service.engine.model import BatchedModel, StepOutput, StepPlan
from stt_service.engine.model_thread import StepReport
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session, Update
from stt_service.engine.step.moshi_model import MoshiModel

SLOTS = 8
FRAME_SAMPLES = 1920


@dataclass
class Occupancy:
    """What one session's slot was fed and what the model said, step by step; not what it has come
    back from."""

    frames: list[npt.NDArray[np.float32]] = field(default_factory=list)
    text_ids: list[int] = field(default_factory=list)
    detours: int = 0
    _kept: int = 0

    def note_way(self, plan: StepPlan, slot: int) -> None:
        """Before a step is noted."""
        if slot in plan.returning:
            del self.frames[self._kept :], self.text_ids[self._kept :]
        if slot in plan.leaving:
            self._kept = len(self.frames)
            self.detours += 1


class Recorder:
    """Listens to an engine's steps and splits them into occupancies at each reset."""

    def __init__(self) -> None:
        self.occupancies: list[Occupancy] = []
        self.steps: list[StepReport] = []
        self._current: dict[int, Occupancy] = {}

    def forget(self) -> None:
        """Start again, between two tests: no session is open."""
        self.occupancies.clear()
        self.steps.clear()

    def __call__(self, report: StepReport) -> None:
        self.steps.append(report)
        for slot in np.flatnonzero(report.plan.active):
            if report.plan.reset[slot]:
                self._current[slot] = Occupancy()
                self.occupancies.append(self._current[slot])
            self._current[slot].note_way(report.plan, int(slot))
            self._current[slot].frames.append(report.plan.pcm[slot, 0].copy())
            self._current[slot].text_ids.append(int(report.output.text_ids[slot]))


def load_model() -> MoshiModel:
    return MoshiModel(str(DIGITS_CHECKPOINT), SLOTS, "cpu", threads=1)


class FailingModel:
    """The real model, until a step too many."""

    def __init__(self, model: MoshiModel, steps: int) -> None:
        self._model = model
        self._steps = steps
        self.info, self.slots = model.info, model.slots
        self.warm_up = model.warm_up

    def step(self, plan: StepPlan) -> StepOutput:
        self._steps -= 1
        if self._steps < 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return self._model.step(plan)


class GatedModel:
    """The real model, whose next part (`load`, `warm_up` or `step`) does not end while its gate is
    shut."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self.gates = {name: threading.Event() for name in ("load", "warm_up", "step")}
        for gate in self.gates.values():
            gate.set()
        self.steps = 0

    def load(self) -> "GatedModel":
        self._pass("load")
        self._model = MoshiModel(str(DIGITS_CHECKPOINT), self.slots, "cpu", threads=1)
        self.info = self._model.info
        return self

    def warm_up(self) -> None:
        self._pass("warm_up")
        self._model.warm_up()

    def step(self, plan: StepPlan) -> StepOutput:
        self._pass("step")
        self.steps += 1
        return self._model.step(plan)

    def _pass(self, name: str) -> None:
        # So that a test that fails leaves no thread behind for ever.
        assert self.gates[name].wait(60)


class BreakingModel:
    """The real model, but what `breaks` names of its output, step by step, is no number."""

    def __init__(self, model: MoshiModel, breaks: Callable[[StepPlan, int], list[int]]) -> None:
        self._model = model
        self._breaks = breaks
        self._steps = 0
        self.info, self.slots, self.warm_up = model.info, model.slots, model.warm_up

    def step(self, plan: StepPlan) -> StepOutput:
        output = self._model.step(plan)
        output.probabilities[self._breaks(plan, self._steps)] = np.nan
        self._steps += 1
        return output


@contextlib.asynccontextmanager
async def run_engine(
    recorder: Callable[[StepReport], None] | None = None,
    load: Callable[[], BatchedModel] = load_model,
    **limits: float,
) -> AsyncIterator[Engine]:
    # Where many tests share a core, a model that is behind is no reason to refuse.
    engine = Engine(load, recorder, EngineLimits(**{"max_behind_s": 60, **limits}))
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def open_session(engine: Engine, **options) -> AsyncIterator[Session]:
    session = await engine.open_session(SessionOptions(**options))
    try:
        yield session
    finally:
        session.close()


async def read_all(session: Session) -> list[Update]:
    return [update async for update in session]


async def read_until_error(session: Session) -> tuple[list[Update], Exception | None]:
    """All updates, and why the session ended badly, if it did."""
    updates = []
    try:
        async for update in session:
            updates.append(update)
    except Exception as error:
        return updates, error
    return updates, None


async def transcribe(engine: Engine, data: bytes, **options) -> Final:
    """A whole recording, as a session of its own."""
    async with open_session(engine, **options) as session:
        reading = asyncio.create_task(read_all(session))
        await session.push_audio(data)
        session.finish()
        updates = await reading
    final = updates[-1].event
    assert isinstance(final, Final)
    return final
