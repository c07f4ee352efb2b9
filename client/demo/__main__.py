"""stt-demo: recorded human speech turns into text, live, over both protocols."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from client.command.arguments import positive_int
from client.command.exit_codes import INTERRUPTED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    arguments = make_parser().parse_args(argv)
    # Audio, network and display libraries take a while to load; --help needs none of them.
    from client.demo.run import run

    try:
        return asyncio.run(run(arguments))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stt-demo: interrupted; the server was stopped.", file=sys.stderr)
        return INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="stt-demo",
        description="Start the service on free local ports with the embedded digits model, stream "
        "recordings of people saying digits to it at real time over gRPC and over WebSocket side "
        "by side, and show the words as they come.",
        epilog="Exit codes: 0 if both protocols gave the same transcripts, 1 if not or if the "
        "server failed, 2 for wrong usage, 130 if interrupted.",
    )
    parser.add_argument("--all", action="store_true", help="play all eight recordings")
    parser.add_argument(
        "--sessions",
        type=positive_int,
        metavar="N",
        help="instead, run N real-time gRPC sessions at once and print how fast events arrive",
    )
    parser.add_argument("--plain", action="store_true", help="print plain lines on a terminal too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
