"""The console scripts of this package, which handle signals before they import a command."""

from __future__ import annotations

import signal

from stt.program import TYPE_CHECKING, run_program

if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = 130


def latency() -> NoReturn:
    """stt-latency."""

    def measure() -> int:
        from client.latency_test import main

        return main()

    signals = (signal.SIGINT,)
    run_program("stt-latency", measure, signals=signals, signalled=INTERRUPTED, extra="client")


def demo() -> NoReturn:
    """stt-demo."""

    def show() -> int:
        from client.demo.__main__ import main

        return main()

    # SIGTERM too: it has a server to stop.
    signals = (signal.SIGINT, signal.SIGTERM)
    run_program("stt-demo", show, signals=signals, signalled=INTERRUPTED, extra="client")
