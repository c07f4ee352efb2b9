"""Cancelling a coroutine at each of its waits, at each moment that matters: the interleavings in
which what was waited for gets lost."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine, Generator
from enum import StrEnum
from typing import Any

QUIET_S = 5.0


class Timing(StrEnum):
    """When the cancellation comes, seen from what the coroutine waits for."""

    BEFORE = "before it arrives"
    WITH = "in the turn of the loop in which it arrives"
    AFTER = "in the turn after"


class _Interrupted:
    """Passes a coroutine's waits on to the task that runs it, and cancels that task at one."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], at: int, timing: Timing) -> None:
        self._coroutine = coroutine
        self._at = at
        self._timing = timing
        self.waits = 0

    @property
    def got_so_far(self) -> bool:
        return self.waits > self._at

    def __await__(self) -> Generator[Any, Any, Any]:
        resume: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                future = resume()
            except StopIteration as stop:
                return stop.value
            if self.waits == self._at:
                self._interrupt(future)
            self.waits += 1
            try:
                yield future
            except BaseException as error:
                # Bound here: Python forgets the name at the end of the clause.
                resume = lambda error=error: self._coroutine.throw(error)  # noqa: E731
            else:
                resume = lambda: self._coroutine.send(None)  # noqa: E731

    def _interrupt(self, future: asyncio.Future[Any] | None) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        if future is None or self._timing is Timing.BEFORE:
            loop.call_soon(task.cancel)
        elif self._timing is Timing.WITH:
            # Called before the task's own wake-up, which is added when the future is handed on.
            future.add_done_callback(lambda _: task.cancel())
        else:
            future.add_done_callback(lambda _: loop.call_soon(task.cancel))


async def run_interrupted(
    coroutine: Coroutine[Any, Any, Any], at: int, timing: Timing
) -> asyncio.Task[Any] | None:
    """Run a coroutine in a task that is cancelled at its wait number `at`; the task, once it has
    ended, or None if the coroutine ended before it waited so often."""
    interrupted = _Interrupted(coroutine, at, timing)

    async def run() -> Any:
        return await interrupted

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not interrupted.got_so_far:
        task.result()
        return None
    if not task.cancelled():
        task.exception()
    return task


async def interrupt_everywhere(
    make: Callable[[], Coroutine[Any, Any, Any]], check: Callable[[str], Awaitable[None]]
) -> int:
    """Run what `make` makes once for each of its waits and timings, cancelled there, and `check`
    after each; how many waits it had."""
    waits = 0
    for timing in Timing:
        at = 0
        while await run_interrupted(make(), at, timing) is not None:
            await check(f"cancelled at wait {at}, {timing}")
            at += 1
        waits = max(waits, at)
    return waits


async def become(
    condition: Callable[[], bool | Awaitable[bool]],
    why: Callable[[], str],
    patience_s: float = QUIET_S,
) -> None:
    """Wait until the condition holds; say `why` if it does not."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    while not (await held if isinstance(held := condition(), Awaitable) else held):
        assert loop.time() < deadline, why()
        await asyncio.sleep(0.005)


class Complaints(list[str]):
    """What asyncio has to complain of: exceptions that nobody looked at, tasks that were lost."""

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.append(str(context))
        )

    def collect(self) -> list[str]:
        """All of them, those of young garbage too."""
        gc.collect(1)
        return self
