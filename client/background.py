"""Work beside a block of code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine


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
