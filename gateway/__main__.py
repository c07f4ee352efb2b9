"""The console script of this package, which handles signals before it imports the command."""

import signal
from typing import NoReturn

from stt.program import run_program

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
