"""Output files: checked before the work, and written whole when it is done.

A file is written under a temporary name and then renamed, so that no reader sees half of it and an
interrupted run leaves the old one. Pipes and devices are written to directly.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from client.names import show_name

_NEW_FILE_MODE = 0o666


class OutputError(Exception):
    """What was asked for cannot be written; the message says where and why."""


def check_place(path: Path) -> None:
    """Raise ValueError if a file cannot be written there."""
    try:
        _check(path)
    except OSError as error:
        raise ValueError(explain(path, error)) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole. Raises `OutputError`."""
    try:
        if _is_written_in_place(path):
            # Appended: a log behind /dev/fd must not be truncated.
            with open(path, "ab") as file:
                file.write(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except BrokenPipeError as error:
        raise OutputError(f"{show_name(path)} was closed by its reader.") from error
    except OSError as error:
        raise OutputError(explain(path, error)) from error


def explain(path: str | Path, error: OSError) -> str:
    """The sentence for a file that cannot be written."""
    return f"{show_name(path)} cannot be written ({error.strerror or error})."


def _is_written_in_place(path: Path) -> bool:
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return True
    with contextlib.suppress(FileNotFoundError):
        return not stat.S_ISREG(os.stat(path).st_mode)
    return False


def _check(path: Path) -> None:
    if os.path.isdir(path):
        raise IsADirectoryError(0, "it is a folder")
    if _is_written_in_place(path):
        return
    target = Path(os.path.realpath(path))
    if _mode(target) is not None and not os.access(target, os.W_OK):
        raise PermissionError(0, "it may not be changed")
    descriptor, name = tempfile.mkstemp(prefix=".stt-", dir=target.parent)
    os.close(descriptor)
    os.unlink(name)


def _replace(target: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=".stt-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.chmod(name, _mode(target) or _NEW_FILE_MODE & ~_read_umask())
        os.replace(name, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return None


def _read_umask() -> int:
    # It can only be read by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
