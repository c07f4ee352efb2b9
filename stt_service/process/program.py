"""How each command begins and ends as a process, so that no end of it is a traceback.

A console script comes here before it imports its command, so this module imports next to nothing.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
"""As in `typing`, whose own import takes longer than all of the above."""

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from types import FrameType
    from typing import NoReturn

FAILED = 1

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def run_program(
    name: str,
    main: Callable[[], int],
    *,
    signals: Sequence[signal.Signals],
    signalled: int,
    extra: str,
    reader_gone: int = FAILED,
) -> NoReturn:
    """Run `main` as this process and end it with the exit code that `main` returns.

    Until `main` handles a signal itself, as in `interruptible`, the signals end the process at
    once with the exit code `signalled`: during slow imports a KeyboardInterrupt would come out as
    a traceback, or get lost in a callback of the interpreter's. `extra` names what to install
    where a package is missing; `reader_gone` is the exit code where nobody reads standard output.

    gRPC's core says nothing on standard error, unless GRPC_VERBOSITY is set: a command tells what
    went wrong in one sentence of its own, and a server in its log.
    """
    # gRPC reads it when it is imported, which is in `main` and not before.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    _end_at(signals, signalled)
    _open_standard_streams()
    try:
        exit_code = main()
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else FAILED if error.code else 0
    except BrokenPipeError:
        # Whoever read what we print has left; there is nobody to tell.
        exit_code = reader_gone
    except ModuleNotFoundError as error:
        say(name, f"{error.name} is not installed; in a clone: pip install '.[{extra}]'")
        exit_code = FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            say(name, f"cannot write what there is to say: {error.strerror}")
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        exit_code = FAILED
    leave(name, exit_code, reader_gone)


def leave(name: str, exit_code: int, reader_gone: int = FAILED) -> NoReturn:
    """End the process now, with what was printed written out.

    The interpreter's own end would abort the process where a thread is in torch, and complain of
    an output that nobody reads any more. So whoever calls has put everything else in order.
    """
    try:
        if not _is_missing(sys.stdout):
            sys.stdout.flush()
    except BrokenPipeError:
        exit_code = exit_code or reader_gone
    except OSError as error:
        say(name, f"cannot write what there is to say: {error.strerror}")
        exit_code = exit_code or FAILED
    with suppress(OSError):
        sys.stderr.flush()
    os._exit(exit_code)


def say(name: str, sentence: str) -> None:
    """Tell the person at the terminal in the program's name."""
    show(f"{name}: {sentence}")


def show(line: str) -> None:
    """Write a line to standard error; an output that is gone is no error."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def announce(line: str) -> None:
    """Print the line that other programs wait for; a server goes on where nobody reads it."""
    try:
        print(line, flush=True)
    except OSError:
        # What could not be written is still in the buffer: let it go nowhere.
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)


@contextmanager
def interruptible(signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> Generator[None]:
    """Let Ctrl-C, and what else is in `signals`, raise KeyboardInterrupt while the block runs."""
    before = {number: signal.getsignal(number) for number in signals}
    for number in signals:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Through SIGINT, which asyncio.run turns into the cancellation of its main task.
    signal.raise_signal(signal.SIGINT)


def _end_at(signals: Sequence[signal.Signals], exit_code: int) -> None:
    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(exit_code)

    for number in signals:
        signal.signal(number, end)


def _open_standard_streams() -> None:
    """Let no socket or file get the number of a closed stream, and then what is printed to it, and
    no stream fail at a character that it cannot write.

    `sys.stdin` and `sys.stdout` stay None where they are closed, so that a command can tell.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if _is_missing(sys.stderr):
        sys.stderr = os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _is_missing(stream: object) -> bool:
    # Python's own types say that it cannot be.
    return stream is None
