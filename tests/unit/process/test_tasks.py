import asyncio
import gc
import weakref

import pytest
from hypothesis import given

from stt_service.process.tasks import first_of
from tests.unit.process.running_together import CANCELLATIONS, PLANS, Plan, leaves_nothing


class Activity:
    """Waits, then ends as told; knows whether it was stopped."""

    def __init__(self, seconds: float, result: object = None) -> None:
        self.seconds = seconds
        self.result = result
        self.started = asyncio.Event()
        self.stopped = False

    async def run(self) -> object:
        self.started.set()
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.stopped = True
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


async def test_the_first_result_ends_the_others():
    slow, quick = Activity(60, "slow"), Activity(0, "quick")
    assert await first_of(slow.run(), quick.run()) == "quick"
    assert slow.stopped


async def test_an_activity_without_a_result_ends_nobody():
    assert await first_of(Activity(0).run(), Activity(0.01, "later").run()) == "later"


async def test_of_two_at_once_the_first_in_order_is_heard():
    assert await first_of(Activity(0, "one").run(), Activity(0, "two").run()) == "one"


async def test_a_failure_is_raised_as_it_is():
    slow = Activity(60)
    with pytest.raises(ValueError, match="broken"):
        await first_of(slow.run(), Activity(0, ValueError("broken")).run())
    assert slow.stopped


async def test_cancelling_stops_all():
    activities = [Activity(60), Activity(60)]
    task = asyncio.create_task(first_of(*(activity.run() for activity in activities)))
    for activity in activities:
        await activity.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(activity.stopped for activity in activities)


async def test_what_a_stopped_activity_used_is_free_without_the_collector():
    used: list[weakref.ref[Activity]] = []

    async def use() -> None:
        connection = Activity(60)
        used.append(weakref.ref(connection))
        await first_of(connection.run(), asyncio.sleep(60))

    gc.disable()
    try:
        # As when a client leaves: one activity ends, and the other runs activities of its own.
        assert await first_of(use(), Activity(0.01, "client gone").run()) == "client gone"
        assert [reference() for reference in used] == [None]
    finally:
        gc.enable()


@given(PLANS, CANCELLATIONS)
def test_nothing_is_left_behind_however_endings_and_cancellations_fall(
    plans: list[Plan], cancel_after: list[int]
):
    asyncio.run(leaves_nothing(first_of, plans, cancel_after))
