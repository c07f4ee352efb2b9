"""The console script of this package, which handles signals before it imports the command."""

from __future__ import annotations

import signal

from stt_service.process.program import TYPE_CHECKING, run_program

if TYPE_CHECKING:
    from typing import NoReturn

EXIT_OK = 0


def main() -> NoReturn:
    """stt-gateway."""

    def serve() -> int:
        from gateway.command import main

        return main()

    signals = (signal.SIGINT, signal.SIGTERM)
    run_program("stt-gateway", serve, signals=signals, signalled=EXIT_OK, extra="gateway")


if __name__ == "__main__":
    main()
