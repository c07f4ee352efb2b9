"""Audio from files and arrays: any rate, any channels, int16 or float, as blocks for the service.

A source is anything that yields mono float32 blocks at 24 kHz. `FileSource` reads whatever
`soundfile` reads (WAV, FLAC, MP3, OGG/Vorbis, OGG/Opus) block by block and resamples while it
reads, so that a file of any length takes no memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, FloatArray

BLOCK_S = FRAME_SAMPLES / SAMPLE_RATE_HERTZ

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class AudioError(Exception):
    """The audio cannot be had; the text says why and what helps."""


class Resampler:
    """Turns blocks of one rate and any channels into mono float32 at 24 kHz, while they come."""

    def __init__(self, sample_rate_hertz: float) -> None:
        self._stream: soxr.ResampleStream | None = None
        if sample_rate_hertz != SAMPLE_RATE_HERTZ:
            self._stream = soxr.ResampleStream(
                sample_rate_hertz, SAMPLE_RATE_HERTZ, num_channels=1, dtype="float32"
            )

    def push(self, block: npt.NDArray[Any], last: bool = False) -> FloatArray:
        """Resample `[samples]` or `[samples, channels]`; `last` gives out what is held back."""
        mono = to_mono_float32(block)
        if self._stream is None:
            return mono
        return cast("Any", self._stream).resample_chunk(mono, last)


def to_mono_float32(block: npt.NDArray[Any]) -> FloatArray:
    """`[samples]` or `[samples, channels]` of floats or integers as mono floats in [-1, 1]."""
    if np.issubdtype(block.dtype, np.integer):
        if np.issubdtype(block.dtype, np.unsignedinteger):
            raise AudioError(
                f"Samples of type {block.dtype} are not understood; use int16 or float."
            )
        block = block.astype(np.float32) / -float(np.iinfo(block.dtype).min)
    if block.ndim == 2:
        block = block.mean(axis=1, dtype=np.float32)
    if block.ndim != 1:
        raise AudioError(
            f"Audio has {block.ndim} dimensions; it must be [samples] or [samples, channels]."
        )
    return np.ascontiguousarray(block, dtype=np.float32)


class PacedSource:
    """Yields the blocks of `read_blocks` as a live speaker would, or as fast as they are taken.

    `pace` 1.0 is real time, 2.0 twice as fast, None as fast as possible. A block is given out when
    its last sample would have been spoken.
    """

    def __init__(
        self,
        blocks: Iterable[FloatArray],
        duration_s: float,
        pace: float | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if pace is not None and pace <= 0:
            raise ValueError(f"The pace is {pace:g}; it must be above 0 (1 is real time).")
        self._blocks = blocks
        self.duration_s = duration_s
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self.started_at: float | None = None
        """The clock's time at which sample zero was spoken; None before the first block."""
        self.position_s = 0.0
        """Audio given out so far."""

    def time_of(self, position_s: float) -> float:
        """The clock's time at which a position of the audio was or will be spoken.

        Only while or after the source is iterated, and only for one that is paced.
        """
        if self.started_at is None:
            raise ValueError("the source has not started")
        return self.started_at + position_s / (self._pace or float("inf"))

    async def __aiter__(self) -> AsyncIterator[FloatArray]:
        self.started_at = self._clock()
        self.position_s = 0.0
        for block in self._blocks:
            spoken_s = self.position_s + len(block) / SAMPLE_RATE_HERTZ
            if self._pace is not None:
                early_s = self.started_at + spoken_s / self._pace - self._clock()
                if early_s > 0:
                    await self._sleep(early_s)
            self.position_s = spoken_s
            yield block


class ArraySource(PacedSource):
    """Samples that are in memory already."""

    def __init__(
        self,
        samples: npt.NDArray[Any],
        sample_rate_hertz: float = SAMPLE_RATE_HERTZ,
        pace: float | None = None,
        block_s: float = BLOCK_S,
    ) -> None:
        block_samples = max(1, round(block_s * sample_rate_hertz))
        blocks = [samples[i : i + block_samples] for i in range(0, len(samples), block_samples)]
        duration_s = len(samples) / sample_rate_hertz
        super().__init__(_Resampled(lambda: blocks, sample_rate_hertz), duration_s, pace)


class FileSource(PacedSource):
    """A recording. Raises `AudioError` at once where the file is missing or no audio."""

    def __init__(
        self, path: str | Path, pace: float | None = None, block_s: float = BLOCK_S
    ) -> None:
        self.path = Path(path)
        try:
            info = soundfile.info(str(self.path))
        except soundfile.LibsndfileError as error:
            raise _unreadable(self.path, error) from error
        rate_hertz: int = info.samplerate
        block_samples = max(1, round(block_s * rate_hertz))
        blocks = _Resampled(lambda: _read_blocks(self.path, block_samples), rate_hertz)
        super().__init__(blocks, info.duration, pace)


class _Resampled:
    """Blocks at 24 kHz; each iteration reads from the start with a fresh resampler."""

    def __init__(
        self, read_blocks: Callable[[], Iterable[npt.NDArray[Any]]], sample_rate_hertz: float
    ) -> None:
        self._read_blocks = read_blocks
        self._sample_rate_hertz = sample_rate_hertz

    def __iter__(self) -> Iterator[FloatArray]:
        resampler = Resampler(self._sample_rate_hertz)
        for block in self._read_blocks():
            # A resampler holds the first blocks back until its filter is full.
            if len(resampled := resampler.push(block)):
                yield resampled
        if len(held_back := resampler.push(np.zeros(0, np.float32), last=True)):
            yield held_back


def _read_blocks(path: Path, block_samples: int) -> Iterator[FloatArray]:
    try:
        with soundfile.SoundFile(str(path)) as file:
            while len(block := cast("FloatArray", file.read(block_samples, dtype="float32"))):
                yield block
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> AudioError:
    if not path.exists():
        return AudioError(f"There is no file {path}.")
    if path.is_dir():
        return AudioError(f"{path} is a folder; name the recordings in it.")
    return AudioError(
        f"{path} cannot be read as audio ({error}). "
        "WAV, FLAC, MP3 and OGG are; others can be converted with ffmpeg."
    )
