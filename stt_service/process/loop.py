"""The event loop that the server runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

try:
    import uvloop
except ImportError:  # There is none for Windows, and asyncio's own loop does everything too.
    uvloop = None

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run the server's coroutine to its end: `asyncio.run`, on uvloop where it is installed.

    A live stream wakes the loop for every message, 12.5 times a second: what a turn of the loop
    costs is what a stream costs (docs/performance.md). The gateway, which is flooded where the
    server is not, keeps asyncio's: what its sockets may hold is measured with that.
    """
    factory = uvloop.new_event_loop if uvloop is not None else None
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)
