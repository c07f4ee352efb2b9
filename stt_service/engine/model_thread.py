"""The one thread that owns the model, the slots and their queues."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from stt_service.engine.admission import Answer
from stt_service.engine.commands import Abandon, Close, Command, Drain, Open, Push, Stop
from stt_service.engine.model import BatchedModel, BoolArray, ModelInfo, StepOutput, StepPlan
from stt_service.engine.pulse import Activity, Pulse
from stt_service.engine.rows import RowGuard, check_model, find_broken_rows
from stt_service.engine.scheduler import Delivery, Scheduler, SessionFailed

Outcome = Answer | Delivery | SessionFailed


@dataclass(frozen=True, slots=True)
class StepReport:
    """One step, for metrics: what was planned, what came out, how long the model took.

    `broken` marks the rows that are not finite or out of range; shape [slots].
    """

    plan: StepPlan
    output: StepOutput
    broken: BoolArray
    duration_s: float


class Listener(Protocol):
    """Who is told, on the event loop, what comes out of the thread."""

    def become_ready(self, info: ModelInfo, slots: int) -> None: ...

    def dispatch(self, outcomes: Sequence[Outcome], step_ended_at: float) -> None:
        """All that one step, or commands without one, led to; the wall clock at its end."""
        ...

    def die(self, error: BaseException) -> None:
        """The thread has ended, and why."""
        ...


class ModelThread:
    """Loads the model, takes commands, steps, and tells its listener.

    `max_behind_s` is how far it may be behind real time and still admit sessions. `on_step` is
    called in the thread. `start`, `put` and `join` are for the event loop, all else is the
    thread's own; there are no locks.
    """

    def __init__(
        self,
        load_model: Callable[[], BatchedModel],
        listener: Listener,
        max_behind_s: float,
        on_step: Callable[[StepReport], None] | None,
    ) -> None:
        self._load_model = load_model
        self._listener = listener
        self._max_behind_s = max_behind_s
        self._on_step = on_step
        # Bounded in practice: each session limits its own items in flight.
        self._inbox: SimpleQueue[Command] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self.pulse = Pulse()

    def start(self) -> None:
        """Begin to load the model; the listener is told on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.pulse.begin(Activity.LOADING)
        self._thread.start()

    def put(self, command: Command) -> None:
        """Have a command carried out before the next step."""
        self._inbox.put(command)

    async def join(self, timeout_s: float) -> None:
        """Wait for the thread's end, if it runs; no longer than `timeout_s`."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, timeout_s)

    def _run(self) -> None:
        try:
            model = self._load_model()
            self.pulse.begin(Activity.WARMING_UP)
            model.warm_up()
            check_model(model)
            self.pulse.frame_s = model.info.frame_s
            self._tell(self._listener.become_ready, model.info, model.slots)
            self._run_steps(model)
        except BaseException as error:  # Whatever it is, every session has to be told.
            self._tell(self._listener.die, error)

    def _run_steps(self, model: BatchedModel) -> None:
        scheduler = Scheduler(model.info, model.slots)
        guard = RowGuard(model.slots)
        may_rest = True
        while self._take_commands(scheduler, wait=may_rest):
            answers = scheduler.admit(self.pulse.behind_s, self._max_behind_s)
            plan = scheduler.plan()
            if plan.is_idle:
                # Nobody is behind, so those who waited for that can be let in before the rest.
                self.pulse.begin(Activity.STEPPING)
                self._deliver([*answers, *plan.deliveries])
                may_rest = not scheduler.could_admit
            else:
                report = self._step(model, plan)
                self._deliver([*answers, *scheduler.apply(plan, report.output, report.broken)])
                guard.check(plan.active, report.broken)
                self.pulse.end_step()
                may_rest = False

    def _take_commands(self, scheduler: Scheduler, *, wait: bool) -> bool:
        """Empty the inbox, first waiting for a command if there is nothing to step.

        False means stop.
        """
        try:
            while True:
                command = self._rest() if wait else self._inbox.get_nowait()
                wait = False
                match command:
                    case Open(session_id, options):
                        scheduler.open(session_id, options)
                    case Push(lease, items):
                        scheduler.push(lease, items)
                    case Close(lease):
                        scheduler.close(lease)
                    case Abandon(session_id):
                        scheduler.abandon(session_id)
                    case Drain():
                        scheduler.drain()
                    case Stop():
                        return False
        except Empty:
            return True

    def _rest(self) -> Command:
        self.pulse.begin(Activity.RESTING)
        command = self._inbox.get()
        self.pulse.begin(Activity.STEPPING)
        return command

    def _step(self, model: BatchedModel, plan: StepPlan) -> StepReport:
        started = time.perf_counter()
        output = model.step(plan)
        duration_s = time.perf_counter() - started
        broken = find_broken_rows(plan.active, output, len(model.info.pieces))
        report = StepReport(plan, output, broken, duration_s)
        if self._on_step is not None:
            self._on_step(report)
        return report

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        # Wake the loop once per step, not once per session.
        if outcomes:
            self._tell(self._listener.dispatch, outcomes, time.time())

    def _tell(self, callback: Callable[..., None], *arguments: object) -> None:
        # A thread that is left behind while it loads may outlive the loop, where nobody listens.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *arguments)
