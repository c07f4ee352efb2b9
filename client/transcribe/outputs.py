"""Where transcripts go: a file for each recording, or standard output."""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from client.audio import STANDARD_INPUT
from client.command.files import OutputError, check_place, explain, write_file
from client.names import show_name
from client.transcribe.formats import SUFFIXES

Input = str | Path | int
"""A recording: its path, or 0 for standard input."""


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
        check_place(path)
    return planned


def write_output(path: Path, text: str) -> None:
    """Write one transcript. Raises `OutputError`."""
    write_file(path, text.encode())


def write_stdout(text: str) -> None:
    """Print a transcript. Raises `OutputError`, or BrokenPipeError if the reader is gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence_stdout()
        raise OutputError(explain("standard output", error)) from error


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
