"""What transcripts are written as, and how such files are called."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = {"text": "txt", "json": "json", "srt": "srt", "vtt": "vtt"}
"""Format → how the names of its files end, without the dot."""


def format_of(path: Path) -> str | None:
    """The format that a file's name asks for; None for a name that asks for none."""
    suffix = path.suffix.removeprefix(".").lower()
    return next((name for name, ending in SUFFIXES.items() if ending == suffix), None)
