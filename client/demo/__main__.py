"""stt-demo: recorded human speech turns into text, live, over both protocols."""

from __future__ import annotations

import signal
import sys

from client.command.exit_codes import INTERRUPTED
from stt_service.process.program import TYPE_CHECKING, run_program

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

# SIGTERM too: there is a server to stop.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    from client.demo.arguments import make_parser

    arguments = make_parser().parse_args(argv)
    # Audio, network and display libraries take a while to load; --help needs none of them.
    from client.command.start import run_command
    from client.demo.run import run

    exit_code = run_command(run(arguments), SIGNALS)
    if exit_code == INTERRUPTED:
        print("stt-demo: interrupted; the server was stopped.", file=sys.stderr)
    return exit_code


def program() -> NoReturn:
    """The console script; it handles signals before it imports what the command needs."""
    run_program("stt-demo", main, signals=SIGNALS, signalled=INTERRUPTED, extra="client")


if __name__ == "__main__":
    program()
