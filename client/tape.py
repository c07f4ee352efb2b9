"""The audio of one stream, kept from the last safe point on so that it can be sent again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, FloatArray

BORDER_TOLERANCE_FRAMES = 1e-6
"""Floats cannot say every frame border exactly: this near counts as reached."""


@dataclass(frozen=True)
class FlushMark:
    """A flush that the caller asked for, and where in the audio."""

    flush_id: str
    position: int


class Tape:
    """Blocks of mono audio by position in samples, and the flushes between them; pure."""

    def __init__(self) -> None:
        self._blocks: list[FloatArray] = []
        self._starts: list[int] = []
        self._marks: dict[int, FlushMark] = {}
        self._next_mark = 0
        self.end = 0
        """Samples recorded so far."""
        self.finished = False
        """Whether nothing more will be recorded."""

    @property
    def start(self) -> int:
        """Position of the first sample that is still kept."""
        return self._starts[0] if self._starts else self.end

    @property
    def kept_s(self) -> float:
        """Audio kept, in seconds."""
        return (self.end - self.start) / SAMPLE_RATE_HERTZ

    def record(self, pcm: FloatArray) -> None:
        """Append mono samples."""
        if len(pcm):
            self._blocks.append(pcm)
            self._starts.append(self.end)
            self.end += len(pcm)

    def mark_flush(self, flush_id: str) -> None:
        """Ask for a flush after the audio recorded so far."""
        self._marks[self._next_mark] = FlushMark(flush_id, self.end)
        self._next_mark += 1

    def confirm_flush(self, flush_id: str) -> bool:
        """Forget the oldest flush of this name; False if there is none."""
        for number, mark in self._marks.items():
            if mark.flush_id == flush_id:
                del self._marks[number]
                return True
        return False

    def marks_from(self, number: int) -> Iterator[tuple[int, FlushMark]]:
        """Unconfirmed flushes in order, from the given number on."""
        return ((n, mark) for n, mark in self._marks.items() if n >= number)

    def read(self, position: int, limit: int) -> FloatArray:
        """Up to `limit` samples from `position`, which must still be kept; empty at the end."""
        if position >= self.end or limit <= 0:
            return np.zeros(0, np.float32)
        if position < self.start:
            raise ValueError(f"sample {position} was forgotten; the tape starts at {self.start}")
        index = bisect_right(self._starts, position) - 1
        offset = position - self._starts[index]
        return self._blocks[index][offset : offset + limit]

    def forget_before(self, position: int) -> None:
        """Drop whole blocks that end at or before `position`."""
        keep_from = bisect_right(self._starts, position) - 1
        if position >= self.end:
            keep_from = len(self._starts)
        if keep_from > 0:
            del self._blocks[:keep_from]
            del self._starts[:keep_from]


def whole_frames(seconds: float) -> int:
    """The last frame border at or before a time, in samples.

    A replay that starts on a frame border cuts the audio into the same frames as before.
    """
    frames = max(0.0, seconds) * SAMPLE_RATE_HERTZ / FRAME_SAMPLES
    return int(frames + BORDER_TOLERANCE_FRAMES) * FRAME_SAMPLES
