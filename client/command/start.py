"""How a command starts and leaves, so that Ctrl-C never ends in a traceback.

Imports next to nothing: what it guards is the time that everything else takes to load. The
modules of the entry points import only this, and load their own work inside `main`.
"""

from __future__ import annotations

import os
import signal

from client.command.exit_codes import INTERRUPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import FrameType
    from typing import Any


def run_command(load: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Load and run a command: `load` imports what it needs and returns the coroutine to run.

    Returns its exit code. Ctrl-C cancels the coroutine; then, as while it is loaded and after it
    has ended, the exit code is `INTERRUPTED`.
    """
    try:
        signal.signal(signal.SIGINT, _leave)
    except ValueError:
        # Handlers belong to the main thread; a program that calls from another one has its own.
        return _run(load())
    work = load()
    # asyncio takes Ctrl-C over from Python's own handler only.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _run(work)
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        # It stays: what is left to do is Python's own end.
        signal.signal(signal.SIGINT, _leave)


def _run(work: Coroutine[Any, Any, int]) -> int:
    import asyncio

    try:
        return asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _leave(number: int, frame: FrameType | None) -> None:
    # An exception would be raised in the middle of an import, and be printed or swallowed there.
    os._exit(INTERRUPTED)
