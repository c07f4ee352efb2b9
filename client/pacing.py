"""Sources that yield audio at the speed of speech, or as fast as it is consumed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from functools import partial
from typing import Any

import numpy.typing as npt

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, FloatArray
from client.samples import Resampler

BLOCK_S = FRAME_SAMPLES / SAMPLE_RATE_HERTZ

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class PacedSource:
    """Yields `blocks` at the speed of speech, or as fast as they are consumed.

    `pace` 1.0 is real time, 2.0 twice as fast, None as fast as possible. A block is yielded when
    its last sample would have been spoken.
    """

    def __init__(
        self,
        blocks: Iterable[FloatArray] | AsyncGenerator[FloatArray],
        duration_s: float | None,
        pace: float | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if pace is not None and pace <= 0:
            raise ValueError(f"The pace is {pace:g}; it must be above 0 (1 is real time).")
        self._blocks = blocks
        self.duration_s = duration_s
        """None where it is not known before the end."""
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self.started_at: float | None = None
        """The clock's time at which sample zero was spoken; None before the first block."""
        self.position_s = 0.0
        """Audio yielded so far."""

    def time_of(self, position_s: float) -> float:
        """The clock's time at which a position of the audio was or will be spoken.

        Only while or after the source is iterated, and only for one that is paced.
        """
        if self.started_at is None:
            raise ValueError("the source has not started")
        return self.started_at + position_s / (self._pace or float("inf"))

    async def __aiter__(self) -> AsyncGenerator[FloatArray]:
        self.started_at = self._clock()
        self.position_s = 0.0
        # Closed as soon as the caller leaves: the blocks may come from a pipe.
        async with contextlib.aclosing(_as_async(self._blocks)) as blocks:
            async for block in blocks:
                spoken_s = self.position_s + len(block) / SAMPLE_RATE_HERTZ
                if self._pace is not None:
                    early_s = self.started_at + spoken_s / self._pace - self._clock()
                    if early_s > 0:
                        await self._sleep(early_s)
                self.position_s = spoken_s
                yield block


class ArraySource(PacedSource):
    """Samples in memory."""

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
        read_blocks = partial(_resample, blocks, sample_rate_hertz)
        super().__init__(Repeated(read_blocks), duration_s, pace)


class Repeated:
    """An iterable that reads the blocks again from the start each time."""

    def __init__(self, read_blocks: Callable[[], Iterator[FloatArray]]) -> None:
        self._read_blocks = read_blocks

    def __iter__(self) -> Iterator[FloatArray]:
        return self._read_blocks()


def _resample(blocks: Sequence[npt.NDArray[Any]], sample_rate_hertz: float) -> Iterator[FloatArray]:
    resampler = Resampler(sample_rate_hertz)
    for block in blocks:
        # A resampler holds the first blocks back until its filter is full.
        if len(resampled := resampler.push(block)):
            yield resampled
    if len(held_back := resampler.finish()):
        yield held_back


async def _as_async(
    blocks: Iterable[FloatArray] | AsyncGenerator[FloatArray],
) -> AsyncGenerator[FloatArray]:
    if isinstance(blocks, AsyncGenerator):
        async with contextlib.aclosing(blocks):
            async for block in blocks:
                yield block
    else:
        for block in blocks:
            yield block
