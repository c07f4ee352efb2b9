"""stt-latency: how fast words come back, for how many people at once, on which GPU."""

from __future__ import annotations

import sys

from client.command.start import run_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""

    def load() -> Coroutine[Any, Any, int]:
        from client.latency.arguments import parse

        arguments = parse(argv)
        # Audio, network and display libraries take a while to load; --help needs none of them.
        from client.latency.run import run

        return run(arguments)

    return run_command(load)


if __name__ == "__main__":
    sys.exit(main())
