"""Output files: checked before the work, and written whole when a transcript is done.

A transcript is written to a temporary file and then renamed, so that no reader sees half of it and
an interrupted run leaves the old file. Pipes and devices are written to directly.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from client.audio import STANDARD_INPUT
from client.names import show_name
from client.transcribe.formats import SUFFIXES

Input = str | Path | int
"""A recording: its path, or 0 for standard input."""

_NEW_FILE_MODE = 0o666


class OutputError(Exception):
    """A transcript cannot be written; the message says which and why."""


def make_folder(folder: Path) -> None:
    """Make a folder, and those that it lies in, if it is not there. Raises ValueError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"The folder {show_name(folder)} cannot be made ({reason}).") from error


def plan_outputs(inputs: Sequence[Input], output: Path, format_name: str) -> list[Path]:
    """The file of each recording's transcript: `output` itself, or one of its own in that folder.

    In a folder a recording's transcript is named after it; a name that is taken already
    gets a number. Raises ValueError, before any work, for a place that cannot be written to.
    """
    planned = [output]
    if os.path.isdir(output):
        planned = _name_in_folder(inputs, output, SUFFIXES[format_name])
    for path in planned:
        for recording in inputs:
            if not isinstance(recording, int) and _is_same_file(path, recording):
                raise ValueError(
                    f"The transcript {show_name(path)} would overwrite the recording "
                    f"{show_name(recording)}; name another place with --output."
                )
    for path in planned:
        try:
            _check(path)
        except OSError as error:
            raise ValueError(_explain(path, error)) from error
    return planned


def write_output(path: Path, text: str) -> None:
    """Write one transcript. Raises `OutputError`."""
    try:
        if _is_written_in_place(path):
            # Appended: a log behind /dev/fd must not be truncated.
            with open(path, "ab") as file:
                file.write(text.encode())
        else:
            _replace(Path(os.path.realpath(path)), text.encode())
    except BrokenPipeError as error:
        raise OutputError(f"{show_name(path)} was closed by its reader.") from error
    except OSError as error:
        raise OutputError(_explain(path, error)) from error


def write_stdout(text: str) -> None:
    """Print a transcript. Raises `OutputError`, or BrokenPipeError if the reader is gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise OutputError(_explain("standard output", error)) from error


def silence_stdout() -> None:
    """Discard further output, the flush at exit included."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _name_in_folder(inputs: Sequence[Input], folder: Path, suffix: str) -> list[Path]:
    stems = ["stdin" if path == STANDARD_INPUT else Path(str(path)).stem for path in inputs]
    # A numbered name must not be the own name of another recording.
    reserved = {_fold(stem) for stem in stems}
    taken: set[str] = set()
    planned: list[Path] = []
    for stem in stems:
        name, number = stem, 1
        while _fold(name) in taken or (number > 1 and _fold(name) in reserved):
            number += 1
            name = f"{stem}-{number}"
        taken.add(_fold(name))
        planned.append(folder / f"{name}.{suffix}")
    return planned


def _fold(name: str) -> str:
    """Equal for names that a file system without case or with its own accents treats as one."""
    return unicodedata.normalize("NFC", name).casefold()


def _is_same_file(one: Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def _is_written_in_place(path: Path) -> bool:
    if path.is_absolute() and path.parts[1:2] in (("dev",), ("proc",)):
        return True
    with contextlib.suppress(FileNotFoundError):
        return not stat.S_ISREG(os.stat(path).st_mode)
    return False


def _check(path: Path) -> None:
    """Raises OSError if a file cannot be written there."""
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


def _explain(path: str | Path, error: OSError) -> str:
    return f"{show_name(path)} cannot be written ({error.strerror or error})."
