"""Human recordings as the Free Spoken Digit Dataset names them: {digit}_{speaker}_{index}.wav."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile as sf

from digits_training.errors import PlanError
from digits_training.sound.clips import Clip, cut_clip
from digits_training.vocabulary import DIGITS

HELD_OUT_INDICES = frozenset(range(5))
"""These recordings of every speaker and digit are kept for the evaluation."""

_FILE_NAME = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)")


def list_recordings(directory: Path, *, held_out: bool) -> list[Path]:
    """The recordings of the evaluation, or those of the training, sorted by name.

    Raises PlanError when the directory holds none, or none of these.
    """
    found = [path for path in sorted(directory.glob("*.wav")) if _FILE_NAME.fullmatch(path.stem)]
    if not found:
        raise PlanError(
            f"{directory} holds no recordings named like 7_jackson_32.wav; "
            "clone https://github.com/Jakobovski/free-spoken-digit-dataset and give its recordings/"
        )
    chosen = [path for path in found if (_get_index(path) in HELD_OUT_INDICES) == held_out]
    if not chosen:
        numbers = f"{min(HELD_OUT_INDICES)} to {max(HELD_OUT_INDICES)}"
        raise PlanError(
            f"{directory} holds no recordings numbered {numbers}, which the evaluation hears"
            if held_out
            else f"{directory} holds recordings numbered {numbers} only, which no training hears"
        )
    return chosen


def read_recordings(paths: list[Path]) -> Iterator[Clip]:
    """Read recordings as clips, one speaker one voice."""
    for path in paths:
        digit, speaker, _ = path.stem.split("_")
        samples, rate_hertz = sf.read(path, dtype="float32")
        yield cut_clip(
            DIGITS[int(digit)],
            speaker,
            human=True,
            samples=np.asarray(samples, np.float32),
            rate_hertz=rate_hertz,
        )


def _get_index(path: Path) -> int:
    return int(path.stem.rsplit("_", 1)[1])
