"""stt-latency: how fast words come back, for how many people at once, on which GPU."""

from __future__ import annotations

import signal

from client.command.exit_codes import INTERRUPTED, OUTPUT_CLOSED
from stt_service.process.program import TYPE_CHECKING, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from client.latency.arguments import parse

    arguments = parse(argv)
    # Audio, network and display libraries take a while to load; --help needs none of them.
    from client.command.start import run_command
    from client.latency.run import run

    return run_command(run(arguments))


def program() -> NoReturn:
    """The console script; it handles Ctrl-C before it imports what the command needs."""
    signals = (signal.SIGINT,)
    run_program(
        "stt-latency",
        main,
        signals=signals,
        signalled=INTERRUPTED,
        extra="client",
        reader_gone=OUTPUT_CLOSED,
    )


if __name__ == "__main__":
    program()
