"""Scripted activities for helpers that run several together, and what must hold however they and
the cancellations of their caller fall."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from tests.interleaving import Complaints

MAX_TURNS = 5


@dataclass(frozen=True)
class Plan:
    """What an activity does, in turns of the event loop.

    It takes a resource after `acquire` turns, holds it until it ends, ends after `hold` more as
    `result` says, and needs `clean_up` turns to end, also where it is cancelled; it may fail then.
    """

    acquire: int
    hold: int
    clean_up: int
    result: object
    fails_at_clean_up: bool


TURNS = st.integers(0, MAX_TURNS)
PLANS = st.lists(
    st.builds(
        Plan,
        acquire=TURNS,
        hold=TURNS,
        clean_up=TURNS,
        result=st.sampled_from([None, "a fact", ValueError("broken")]),
        fails_at_clean_up=st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
CANCELLATIONS = st.lists(st.integers(0, 3 * MAX_TURNS), max_size=3).map(sorted)


class Held:
    """Counts what is held."""

    def __init__(self) -> None:
        self.now = 0
        self.ever = 0

    async def act(self, plan: Plan) -> object:
        await turns(plan.acquire)
        self.now += 1
        self.ever += 1
        try:
            await turns(plan.hold)
            if isinstance(plan.result, Exception):
                raise plan.result
            return plan.result
        finally:
            try:
                await turns(plan.clean_up)
            finally:
                self.now -= 1
            if plan.fails_at_clean_up:
                raise OSError("failed while it was stopped")


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def leaves_nothing(
    run_together: Callable[..., Awaitable[object]], plans: list[Plan], cancel_after: list[int]
) -> None:
    """Run the activities in a task that is cancelled after so many turns, once or more often."""
    complaints = Complaints()
    before = asyncio.all_tasks()
    held = Held()

    async def run() -> object:
        return await run_together(*(held.act(plan) for plan in plans))

    task = asyncio.create_task(run())
    # Else the coroutines themselves are never begun, as those of any task that never runs.
    await turns(1)
    passed = 0
    for turn in cancel_after:
        await turns(turn - passed)
        passed = turn
        task.cancel()
    await asyncio.wait([task])
    assert held.now == 0, "what an activity held is free when its caller goes on"
    assert asyncio.all_tasks() == before, "no task is left behind"
    if not task.cancelled():
        task.exception()
    del task
    assert complaints.collect() == []
