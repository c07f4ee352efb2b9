"""stt-demo: recorded human speech turns into text, live, over both protocols."""

from __future__ import annotations

import sys

from client.command.exit_codes import INTERRUPTED
from client.command.start import run_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""

    def load() -> Coroutine[Any, Any, int]:
        from client.demo.arguments import make_parser

        arguments = make_parser().parse_args(argv)
        # Audio, network and display libraries take a while to load; --help needs none of them.
        from client.demo.run import run

        return run(arguments)

    exit_code = run_command(load)
    if exit_code == INTERRUPTED:
        print("stt-demo: interrupted; the server was stopped.", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
