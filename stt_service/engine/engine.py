"""The engine: the sessions on the event loop, and the way to the thread that owns the model."""

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from uuid import uuid4

from stt_service.config import EngineLimits
from stt_service.engine.admission import Answer
from stt_service.engine.allowance import Allowance, current_allowance
from stt_service.engine.awake_clock import AwakeClock
from stt_service.engine.commands import Abandon, Close, Drain, Open, Push, Stop
from stt_service.engine.errors import (
    Draining,
    EngineDied,
    EngineError,
    NoFreeSlot,
    NotServing,
    Overloaded,
    WarmingUp,
)
from stt_service.engine.frames import Framer
from stt_service.engine.model import BatchedModel, ModelInfo
from stt_service.engine.model_thread import ModelThread, Outcome, StepReport
from stt_service.engine.options import SessionOptions
from stt_service.engine.scheduler import Delivery, SessionFailed
from stt_service.engine.session import Session
from stt_service.engine.slots import Lease
from stt_service.engine.watchdog import Watchdog

STOP_TIMEOUT_S = 2.0


class State(Enum):
    WARMING_UP = "warming up"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
    DEAD = "dead"


class Engine:
    """Serves sessions with one batched model.

    `load_model` runs in the model thread, which alone touches the model. `on_step`
    is called there after each step and must be quick. All methods belong to the event
    loop that `start` was awaited on.
    """

    def __init__(
        self,
        load_model: Callable[[], BatchedModel],
        on_step: Callable[[StepReport], None] | None = None,
        limits: EngineLimits | None = None,
    ) -> None:
        self._limits = limits or EngineLimits()
        self._thread = ModelThread(load_model, self, self._limits.max_behind_s, on_step)
        self._state = State.WARMING_UP
        self._sessions: dict[str, Session] = {}
        self._openings: dict[str, asyncio.Future[Lease]] = {}
        self._info: ModelInfo | None = None
        self._slots = 0
        self._clock = AwakeClock()

    async def start(self) -> None:
        """Load the model and warm it up; raises what loading raised."""
        loop = asyncio.get_running_loop()
        self._loaded: asyncio.Future[None] = loop.create_future()
        self._idle = asyncio.Event()
        self._idle.set()
        self._death: asyncio.Future[EngineDied] = loop.create_future()
        watchdog = Watchdog(self._clock, self._limits, self.die)
        self._clock.start(on_tick=lambda: watchdog.look(self._thread.pulse.latest))
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
    def slots_open(self) -> int:
        """Sessions that would be admitted at once: the free slots, none while it is behind."""
        return 0 if self._is_behind else self.slots_free

    @property
    def sessions_waiting(self) -> int:
        """Sessions that are being admitted or wait for a slot."""
        return len(self._openings)

    @property
    def behind_s(self) -> float:
        """How far the engine is behind real time. May be read from any thread."""
        return self._thread.pulse.behind_s

    @property
    def queue_depth(self) -> int:
        """Frames and marks waiting for the model thread. May be read from any thread."""
        return sum(session.items_waiting for session in list(self._sessions.values()))

    async def wait_for_death(self) -> EngineDied:
        """Return why the model thread died, when it does."""
        return await asyncio.shield(self._death)

    async def open_session(self, options: SessionOptions) -> Session:
        """Lease a slot, waiting for one if the options say so.

        It is opened on the current allowance. Raises NotServing (WarmingUp, NoFreeSlot, Overloaded,
        TooManySessions, Draining), InvalidOptions, EngineDied.
        """
        self._check_admission()
        allowance = current_allowance()
        options = allowance.limit(options)
        info = self.info
        framer = Framer(
            options.encoding,
            options.sample_rate_hertz or info.sample_rate_hertz,
            info.sample_rate_hertz,
            info.frame_samples,
        )
        options.vad.check_against(info)
        session_id = uuid4().hex
        allowance.enter()
        lease: Lease | None = None
        try:
            lease = await self._lease_slot(session_id, options)
            # The engine may have begun to drain, or died, since the slot was leased.
            self._check_admission()
            session = Session(
                session_id,
                framer,
                push=lambda items, lease=lease: self._thread.put(Push(lease, items)),
                on_close=partial(self._forget, session_id, lease, allowance),
                clock=self._clock,
                idle_timeout_s=options.idle_timeout_s,
                stall_timeout_s=options.resolve_stall_timeout_s(info),
                allowance=allowance,
            )
        except BaseException:
            allowance.leave()
            if lease is not None:
                self._thread.put(Close(lease))
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
            self._thread.put(Drain())
        if await self._wait_until_idle(grace_s):
            return
        for session in list(self._sessions.values()):
            session.finish(Draining())
        await self._wait_until_idle(finish_s)

    async def stop(self) -> None:
        """End the model thread after its current step; sessions that are still open fail.

        A thread that still loads the model, or hangs, is left behind: it ends with the process.
        """
        self._refuse_openings(Draining())
        for session in list(self._sessions.values()):
            session.fail(Draining())
        if self._state is not State.DEAD:
            self._state = State.STOPPED
        self._clock.stop()
        self._thread.put(Stop())
        if self._info is not None:
            await self._thread.join(STOP_TIMEOUT_S)

    # --- what the model thread tells, as its Listener ----------------------------------------

    def become_ready(self, info: ModelInfo, slots: int) -> None:
        """The model is loaded and warm."""
        self._info, self._slots = info, slots
        if self._state is State.WARMING_UP:
            self._state = State.SERVING
        if not self._loaded.done():
            self._loaded.set_result(None)

    def dispatch(self, outcomes: Sequence[Outcome], step_ended_at: float) -> None:
        """Give each session what is its own."""
        for item in outcomes:
            match item:
                case Answer(session_id, outcome):
                    self._answer(session_id, outcome)
                case Delivery(session_id):
                    if session := self._sessions.get(session_id):
                        session.receive(item, step_ended_at if item.stepped else None)
                case SessionFailed(session_id, error):
                    if session := self._sessions.get(session_id):
                        session.fail(error)

    def die(self, error: BaseException) -> None:
        """The model thread has ended or hangs: tell every session."""
        if self._state is State.DEAD:
            return
        self._state = State.DEAD
        death = EngineDied(error)
        death.__cause__ = error
        self._death.set_result(death)
        if not self._loaded.done():
            self._loaded.set_exception(error if isinstance(error, EngineError) else death)
        self._refuse_openings(death)
        for session in list(self._sessions.values()):
            session.fail(death)

    # --- admission and the end ---------------------------------------------------------------

    @property
    def _is_behind(self) -> bool:
        return self.behind_s > self._limits.max_behind_s

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

    def _refuse(self) -> NotServing:
        return Overloaded(self.behind_s) if self._is_behind else NoFreeSlot(self._slots)

    async def _lease_slot(self, session_id: str, options: SessionOptions) -> Lease:
        if self._is_behind and not options.wait_for_slot_s:
            # The thread would say so too, but only after its step.
            raise self._refuse()
        opening: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._openings[session_id] = opening
        self._thread.put(Open(session_id, options))
        try:
            async with asyncio.timeout(options.wait_for_slot_s or None):
                return await opening
        except BaseException as error:
            # The caller waits no more, but the slot may already be leased, or soon will be.
            if not isinstance(error, EngineError):
                self._thread.put(Abandon(session_id))
            if isinstance(error, TimeoutError):
                raise self._refuse() from None
            raise
        finally:
            # The slot counts as taken until the caller resumes, although it has no session yet.
            del self._openings[session_id]

    def _forget(self, session_id: str, lease: Lease, allowance: Allowance) -> None:
        allowance.leave()
        self._thread.put(Close(lease))
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
