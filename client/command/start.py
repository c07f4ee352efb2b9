"""Running a command's work so that Ctrl-C cancels it and sets the exit code."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Sequence
from typing import Any

from client.command.exit_codes import INTERRUPTED
from stt_service.process.program import interruptible


def run_command(
    work: Coroutine[Any, Any, int], signals: Sequence[signal.Signals] = (signal.SIGINT,)
) -> int:
    """Run `work` to its end; returns its exit code, or `INTERRUPTED` after one of the signals."""
    try:
        with interruptible(signals):
            return asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED
