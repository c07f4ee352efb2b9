"""Work beside a block of code, and generators that work in tasks of their own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Generic, TypeVar

T = TypeVar("T")


@contextlib.asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncGenerator[None]:
    """Run `work` beside the block, end it with the block, and raise what it failed with."""
    task = asyncio.create_task(work)
    try:
        yield
    except Exception as error:
        # The block often fails because `work` did; then `work` has the reason.
        if task.done() and (cause := task.exception()) is not None:
            raise cause from error
        raise
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled() and (failure := task.exception()) is not None:
        raise failure


class TaskGenerator(Generic[T]):
    """What a generator yields, one at a time, from a task of its own.

    A loop that ends lets its tasks end in order, but closes nested generators all at once: a
    caller who leaves an iteration of them would get tracebacks for it.
    """

    def __init__(self, make: Callable[[], AsyncGenerator[T]]) -> None:
        self._make = make
        self._is_closed = False
        self._task: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def iterate(self) -> AsyncGenerator[T]:
        """Run the generator, once. Only who iterates may keep what this returns: then leaving the
        iteration ends the task."""
        if self._is_closed:
            return
        yielded: asyncio.Queue[tuple[T] | None] = asyncio.Queue()
        taken = asyncio.Semaphore(0)
        self._task = asyncio.create_task(self._run(yielded, taken))
        try:
            while (boxed := await yielded.get()) is not None:
                yield boxed[0]
                taken.release()
            if self._failure is not None:
                raise self._failure
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """End the task, in any state."""
        self._is_closed = True
        if self._task is not None:
            # Once: a second time would break off what the first one made it put in order.
            if not self._task.cancelling():
                self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, yielded: asyncio.Queue[tuple[T] | None], taken: asyncio.Semaphore) -> None:
        """Put all that is yielded, each when the one before it was taken, then None."""
        try:
            async with contextlib.aclosing(self._make()) as generator:
                async for one in generator:
                    yielded.put_nowait((one,))
                    await taken.acquire()
        except Exception as error:
            self._failure = error
        finally:
            yielded.put_nowait(None)
