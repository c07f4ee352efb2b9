"""A conversation of two turns, as samples, as a file, and as what is true of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from tests.support import MODEL_RATE_HERTZ, Recording

SILENCE_S = 3.0
FRAME_SAMPLES = 1920


@dataclass(frozen=True)
class Speech:
    """Two speakers, each followed by silence."""

    samples: npt.NDArray[np.float32]
    path: Path
    """The same as a WAV file of 16 bit."""
    turns: tuple[str, ...]
    turn_ends_s: tuple[float, ...]
    """Where the silence is long enough for a VAD to have noticed it."""

    @property
    def text(self) -> str:
        return " ".join(self.turns)

    @property
    def pcm_s16le(self) -> bytes:
        """The samples of the file, to the bit."""
        return np.round(self.samples * 32768).astype("<i2").tobytes()


def make_speech(recordings: tuple[Recording, ...], folder: Path) -> Speech:
    pieces: list[npt.NDArray[np.float32]] = []
    ends_s: list[float] = []
    length_s = 0.0
    for recording in recordings:
        pieces += [recording.samples(), np.zeros(int(SILENCE_S * MODEL_RATE_HERTZ), np.float32)]
        ends_s.append(length_s + len(pieces[-2]) / MODEL_RATE_HERTZ + 0.8)
        length_s += (len(pieces[-2]) + len(pieces[-1])) / MODEL_RATE_HERTZ
    samples = np.concatenate(pieces)
    samples = np.pad(samples, (0, -len(samples) % FRAME_SAMPLES))
    path = folder / "conversation.wav"
    soundfile.write(path, samples, MODEL_RATE_HERTZ, subtype="PCM_16")
    # From the file, so that every client hears the same to the bit.
    samples, _ = soundfile.read(path, dtype="float32")
    return Speech(samples, path, tuple(one.text for one in recordings), tuple(ends_s))
