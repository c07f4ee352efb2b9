"""Running a few activities together until one of them has a result."""

import asyncio
import traceback
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first_of(*activities: Coroutine[Any, Any, T | None]) -> T:
    """Run activities together until one returns a result or fails; stop and await the others.

    What an activity returns must not need closing. Where the caller is cancelled in the turn of the
    loop in which a result arrives, or two results arrive at once, a result is dropped and nobody
    hears of it: an activity that acquires something holds it until its own end, and returns facts.

    An activity that returns None has nothing to say and is waited for no more. Of several that end
    at the same moment the first in order is heard. Unlike a TaskGroup this raises an activity's
    own exception, not a group around it.
    """
    tasks = [asyncio.ensure_future(activity) for activity in activities]
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task in done and (result := task.result()) is not None:
                    return result
        raise RuntimeError("no activity had a result")
    finally:
        for task in tasks:
            task.cancel()
        try:
            # Ends only when all have ended, also where the caller is cancelled once more.
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in tasks:
                _let_go(task)


def _let_go(stopped: asyncio.Task[Any]) -> None:
    """Free what a cancelled task used, a connection perhaps.

    Its exception holds its frames and they hold the task: they would wait for the collector.
    """
    if stopped.cancelled():
        try:
            stopped.result()
        except asyncio.CancelledError as cancelled:
            traceback.clear_frames(cancelled.__traceback__)
