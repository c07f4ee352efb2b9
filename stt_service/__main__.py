"""The console scripts of this package, which handle signals before they import a command."""

from __future__ import annotations

import signal

from stt_service.process.program import TYPE_CHECKING, run_program

if TYPE_CHECKING:
    from typing import NoReturn

EXIT_OK = 0
EXIT_INTERRUPTED = 130


def main() -> NoReturn:
    """stt-serve."""

    def serve() -> int:
        from stt_service.command import main

        return main()

    signals = (signal.SIGINT, signal.SIGTERM)
    run_program("stt-serve", serve, signals=signals, signalled=EXIT_OK, extra="server")


def modal_url() -> NoReturn:
    """stt-modal-url."""

    def find() -> int:
        from stt_service.deploy.modal_url import main

        return main()

    signals = (signal.SIGINT,)
    run_program("stt-modal-url", find, signals=signals, signalled=EXIT_INTERRUPTED, extra="modal")


if __name__ == "__main__":
    main()
