"""The engine: one thread that owns the model, and the way in and out of it."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from uuid import uuid4

from stt_service.engine.commands import Abandon, Close, Command, Drain, Open, Push, Stop
from stt_service.engine.errors import Draining, EngineDied, EngineError, WarmingUp
from stt_service.engine.frames import Framer
from stt_service.engine.model import BatchedModel, ModelInfo, StepOutput, StepPlan
from stt_service.engine.options import SessionOptions
from stt_service.engine.scheduler import Answer, Delivery, Scheduler
from stt_service.engine.session import Session
from stt_service.engine.slots import Lease

STOP_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step, for metrics: what was planned, what came out, how long the model took."""

    plan: StepPlan
    output: StepOutput
    duration_s: float


class State(Enum):
    WARMING_UP = "warming up"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    DEAD = "dead"


class Engine:
    """Serves sessions with one batched model.

    `load_model` runs in the model thread, which alone touches the model. `on_step`
    is called there after each step and must be quick. All other methods belong to
    the event loop that `start` was awaited on.
    """

    def __init__(
        self,
        load_model: Callable[[], BatchedModel],
        on_step: Callable[[StepReport], None] | None = None,
    ) -> None:
        self._load_model = load_model
        self._on_step = on_step
        # Bounded in practice: each session limits its own items in flight.
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._thread = threading.Thread(target=self._run_thread, name="model", daemon=True)
        self._state = State.WARMING_UP
        self._sessions: dict[str, Session] = {}
        self._openings: dict[str, asyncio.Future[Lease]] = {}
        self._info: ModelInfo | None = None
        self._slots = 0

    # --- on the event loop -------------------------------------------------------------------

    async def start(self) -> None:
        """Load the model and warm it up; raises what loading raised."""
        self._loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[None] = self._loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._death: asyncio.Future[EngineDied] = self._loop.create_future()
        self._thread.start()
        await self._loaded

    @property
    def state(self) -> State:
        return self._state

    @property
    def info(self) -> ModelInfo:
        """Facts about the model; WarmingUp before it is loaded."""
        if self._info is None:
            raise WarmingUp
        return self._info

    @property
    def slots_total(self) -> int:
        return self._slots

    @property
    def slots_free(self) -> int:
        leased = sum(session.holds_slot for session in list(self._sessions.values()))
        return max(0, self._slots - leased - len(self._openings))

    @property
    def queue_depth(self) -> int:
        """Frames and marks waiting for the model thread. May be read from any thread."""
        return sum(session.items_waiting for session in list(self._sessions.values()))

    async def wait_for_death(self) -> EngineDied:
        """Return why the model thread died, when it does."""
        return await asyncio.shield(self._death)

    async def open_session(self, options: SessionOptions) -> Session:
        """Lease a slot. Raises NotServing (WarmingUp, NoFreeSlot, Draining), InvalidOptions,
        EngineDied."""
        self._check_admission()
        info = self.info
        framer = Framer(
            options.encoding,
            options.sample_rate_hertz or info.sample_rate_hertz,
            info.sample_rate_hertz,
            info.frame_samples,
        )
        options.vad.check_against(info)
        session_id = uuid4().hex
        lease = await self._lease_slot(session_id, options)
        try:
            # The engine may have begun to drain, or died, since the slot was leased.
            self._check_admission()
            session = Session(
                session_id,
                framer,
                push=lambda items: self._inbox.put(Push(lease, items)),
                on_close=partial(self._forget, session_id, lease),
                idle_timeout_s=options.idle_timeout_s,
                stall_timeout_s=options.resolve_stall_timeout_s(info),
            )
        except BaseException:
            self._inbox.put(Close(lease))
            raise
        self._sessions[session_id] = session
        self._idle.clear()
        return session

    async def drain(self, grace_s: float, finish_s: float = 10.0) -> None:
        """Admit no new sessions and let the open ones finish.

        Sessions still open after `grace_s` are finished: they get their last words
        and Final, then Draining. Returns when all are closed, or `finish_s` later.
        """
        if self._state in (State.WARMING_UP, State.SERVING):
            self._state = State.DRAINING
            self._inbox.put(Drain())
        if await self._wait_until_idle(grace_s):
            return
        for session in list(self._sessions.values()):
            session.finish(Draining())
        await self._wait_until_idle(finish_s)

    async def stop(self) -> None:
        """End the model thread after its current step; sessions that are still open fail.

        A thread that still loads the model is left behind: it ends with the process.
        """
        self._refuse_openings(Draining())
        for session in list(self._sessions.values()):
            session.fail(Draining())
        if self._state is not State.DEAD:
            self._state = State.STOPPED
        self._inbox.put(Stop())
        is_loading = self._info is None
        if self._thread.is_alive() and not is_loading:
            await asyncio.to_thread(self._thread.join, STOP_TIMEOUT_S)

    def _check_admission(self) -> None:
        match self._state:
            case State.SERVING:
                return
            case State.WARMING_UP:
                raise WarmingUp
            case State.DEAD:
                raise self._death.result()
            case _:
                raise Draining

    async def _lease_slot(self, session_id: str, options: SessionOptions) -> Lease:
        opening: asyncio.Future[Lease] = self._loop.create_future()
        self._openings[session_id] = opening
        self._inbox.put(Open(session_id, options))
        try:
            return await opening
        except asyncio.CancelledError:
            # The caller is gone, but the slot may already be leased, or soon will be.
            self._inbox.put(Abandon(session_id))
            raise
        finally:
            # The slot counts as taken until the caller resumes, although it has no session yet.
            del self._openings[session_id]

    def _forget(self, session_id: str, lease: Lease) -> None:
        self._inbox.put(Close(lease))
        self._sessions.pop(session_id, None)
        if not self._sessions:
            self._idle.set()

    async def _wait_until_idle(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _receive(self, outcomes: Sequence[Answer | Delivery], step_ended_at: float) -> None:
        for item in outcomes:
            match item:
                case Answer(session_id, outcome):
                    self._answer(session_id, outcome)
                case Delivery(session_id):
                    session = self._sessions.get(session_id)
                    if session is not None:
                        session.receive(item, step_ended_at if item.stepped else None)

    def _answer(self, session_id: str, outcome: Lease | EngineError) -> None:
        opening = self._openings.get(session_id)
        if opening is None or opening.done():
            return
        if isinstance(outcome, Lease):
            opening.set_result(outcome)
        else:
            opening.set_exception(outcome)

    def _refuse_openings(self, error: EngineError) -> None:
        for opening in self._openings.values():
            if not opening.done():
                opening.set_exception(error)

    def _become_ready(self, info: ModelInfo, slots: int) -> None:
        self._info, self._slots = info, slots
        if self._state is State.WARMING_UP:
            self._state = State.SERVING
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _die(self, error: BaseException) -> None:
        self._state = State.DEAD
        death = EngineDied(error)
        death.__cause__ = error
        self._death.set_result(death)
        if not self._loaded.done():
            self._loaded.set_exception(error if isinstance(error, EngineError) else death)
        self._refuse_openings(death)
        for session in list(self._sessions.values()):
            session.fail(death)

    # --- in the model thread -----------------------------------------------------------------

    def _run_thread(self) -> None:
        try:
            model = self._load_model()
            model.warm_up()
            self._loop.call_soon_threadsafe(self._become_ready, model.info, model.slots)
            self._run_steps(model)
        except BaseException as error:  # Whatever it is, every session has to be told.
            self._loop.call_soon_threadsafe(self._die, error)

    def _run_steps(self, model: BatchedModel) -> None:
        scheduler = Scheduler(model.info, model.slots)
        plan = scheduler.plan()
        while (answers := self._take_commands(scheduler, wait=plan.is_idle)) is not None:
            plan = scheduler.plan()
            if plan.is_idle:
                self._deliver([*answers, *plan.deliveries])
            else:
                output = self._step(model, plan)
                self._deliver([*answers, *scheduler.apply(plan, output)])

    def _take_commands(self, scheduler: Scheduler, *, wait: bool) -> list[Answer] | None:
        """Empty the inbox, first waiting for a command if there is nothing to step.

        The answers to openings; None means stop.
        """
        answers: list[Answer] = []
        try:
            while True:
                command = self._inbox.get(block=wait)
                wait = False
                match command:
                    case Open(session_id, options):
                        answers.append(scheduler.open(session_id, options))
                    case Push(lease, items):
                        scheduler.push(lease, items)
                    case Close(lease):
                        scheduler.close(lease)
                    case Abandon(session_id):
                        scheduler.abandon(session_id)
                    case Drain():
                        scheduler.drain()
                    case Stop():
                        return None
        except Empty:
            return answers

    def _step(self, model: BatchedModel, plan: StepPlan) -> StepOutput:
        started = time.perf_counter()
        output = model.step(plan)
        if self._on_step is not None:
            self._on_step(StepReport(plan, output, time.perf_counter() - started))
        return output

    def _deliver(self, outcomes: Sequence[Answer | Delivery]) -> None:
        # Wake the loop once per step, not once per session.
        if outcomes:
            self._loop.call_soon_threadsafe(self._receive, outcomes, time.time())
