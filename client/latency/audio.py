"""What stt-latency streams, and where in it a flush cuts no word."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from client.audio import ArraySource, FileSource, PacedSource
from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, FloatArray
from client.recordings import load_recordings

QUIET_FRAMES = 5


@dataclass(frozen=True)
class StreamPlan:
    """One stream: its audio, and the moment at which a flush is asked for."""

    source: PacedSource
    flush_at_s: float


@dataclass(frozen=True)
class Audio:
    """What the streams send: each its own recording where there are several."""

    recordings: tuple[FloatArray, ...]
    rtf: float

    @classmethod
    async def load(cls, path: Path | None, rtf: float) -> Audio:
        """One recording, or pairs of the demo's. Raises `AudioError`."""
        if path is not None:
            return cls((await _read(path),), rtf)
        digits = [await _read(recording.path) for recording in load_recordings()]
        pairs = zip(digits, [*digits[1:], digits[0]], strict=True)
        return cls(tuple(np.concatenate(pair) for pair in pairs), rtf)

    @property
    def mean_s(self) -> float:
        """Mean length of a stream's audio."""
        samples = sum(len(recording) for recording in self.recordings)
        return samples / len(self.recordings) / SAMPLE_RATE_HERTZ

    def plan(self, number: int) -> StreamPlan:
        """The stream of this number."""
        recording = self.recordings[number % len(self.recordings)]
        return StreamPlan(ArraySource(recording, pace=self.rtf), find_quiet_moment_s(recording))


def find_quiet_moment_s(pcm: FloatArray) -> float:
    """The middle of the quietest 0.4 s in the middle third of the audio."""
    frames = len(pcm) // FRAME_SAMPLES
    if frames < 3 * QUIET_FRAMES:
        return len(pcm) / SAMPLE_RATE_HERTZ
    power = np.square(pcm[: frames * FRAME_SAMPLES]).reshape(frames, FRAME_SAMPLES).mean(axis=1)
    loudness = np.lib.stride_tricks.sliding_window_view(power, QUIET_FRAMES).sum(axis=1)
    first = frames // 3
    quietest = first + int(np.argmin(loudness[first : 2 * frames // 3]))
    return (quietest + QUIET_FRAMES // 2 + 1) * FRAME_SAMPLES / SAMPLE_RATE_HERTZ


async def _read(path: Path) -> FloatArray:
    return np.concatenate([block async for block in FileSource(path)])
