"""A scheduler with a model in its hands, for tests."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from stt_service.engine.errors import EngineError
from stt_service.engine.events import Event
from stt_service.engine.options import SessionOptions
from stt_service.engine.scheduler import Delivery, Scheduler
from stt_service.engine.slots import Lease
from tests.unit.engine.models import (
    PADDING,
    make_info,
    make_output,
)


class Bench:
    """A scheduler with a model that says the same id to everyone."""

    def __init__(self, slots: int = 2, **info) -> None:
        self.info = make_info(**info)
        self.slots = slots
        self.scheduler = Scheduler(self.info, slots)
        self.heard: dict[str, list[Event]] = defaultdict(list)
        self.items_done: dict[str, int] = {}
        self.leases: dict[str, Lease] = {}
        self.plans = []

    def open(self, name: str, **options) -> Lease:
        outcome = self.ask(name, **options)
        assert isinstance(outcome, Lease)
        return outcome

    def ask(self, name: str, **options) -> Lease | EngineError:
        self.scheduler.open(name, SessionOptions(**options))
        answers = {answer.session_id: answer.outcome for answer in self.scheduler.admit()}
        self.leases |= {who: found for who, found in answers.items() if isinstance(found, Lease)}
        return answers[name]

    def step(self, text_id: int = PADDING, pause: float = 0.0) -> bool:
        plan = self.scheduler.plan()
        if plan.is_idle:
            self.tell(plan.deliveries)
            return False
        self.plans.append((plan.active.copy(), plan.reset.copy()))
        output = make_output([text_id] * self.slots, pause)
        fine = np.zeros(self.slots, dtype=np.bool_)
        self.tell(self.scheduler.apply(plan, output, fine))
        return True

    def run(self, limit: int = 1000) -> int:
        steps = 0
        while self.step():
            steps += 1
            assert steps < limit
        return steps

    def tell(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self.heard[delivery.session_id] += delivery.events
            self.items_done[delivery.session_id] = delivery.items_done
