"""File names as people read them."""

from __future__ import annotations

import os
from pathlib import Path


def show_name(path: str | Path) -> str:
    """A file's name in one line: line breaks and bytes that are not text become escapes."""
    return "".join(
        character if character.isprintable() else _escape(character) for character in str(path)
    )


def _escape(character: str) -> str:
    # Python represents a byte that is not UTF-8 as a lone surrogate.
    if "\udc80" <= character <= "\udcff":
        return f"\\x{os.fsencode(character)[0]:02x}"
    return character.encode("unicode_escape").decode()
