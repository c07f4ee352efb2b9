"""The recordings that come with the package: what is said in them, and when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class SpokenWord:
    """A word of a recording, in seconds from its start."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Recording:
    """A recording and its known transcript. Nobody is the speaker of a `synthetic` one."""

    path: Path
    speaker: str
    duration_s: float
    text: str
    words: tuple[SpokenWord, ...]
    synthetic: bool = False


def load_recordings(folder: Path = FOLDER) -> list[Recording]:
    """Read a folder's `manifest.json`."""
    entries: list[dict[str, Any]] = json.loads((folder / "manifest.json").read_text("utf-8"))
    return [
        Recording(
            folder / entry["file"],
            entry["speaker"],
            entry["duration_s"],
            entry["text"],
            tuple(SpokenWord(**word) for word in entry["words"]),
            entry.get("synthetic", False),
        )
        for entry in entries
    ]
