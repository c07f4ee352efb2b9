"""Hearing recordings from files and out of pipes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr

from client.audio import AudioError, FileSource
from client.options import SAMPLE_RATE_HERTZ


@contextlib.contextmanager
def pipe_with(data: bytes, piece: int = 1_000) -> Iterator[int]:
    """The reading end of a pipe into which these bytes are written, piece by piece."""
    reading, writing = os.pipe()

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            for start in range(0, len(data), piece):
                os.write(writing, data[start : start + piece])
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reading
    finally:
        os.close(reading)
        thread.join()


async def hear(source: FileSource) -> tuple[np.ndarray, str]:
    """The audio, and the error at its end."""
    blocks = [np.zeros(0, np.float32)]
    try:
        async for block in source:
            blocks.append(block)
    except AudioError as error:
        return np.concatenate(blocks), str(error)
    return np.concatenate(blocks), ""


async def hear_both_ways(tmp_path: Path, data: bytes) -> list[tuple[np.ndarray, str]]:
    """The same bytes as a file without a telling name, and out of a pipe."""
    path = tmp_path / "recording"
    path.write_bytes(data)
    try:
        from_file = await hear(FileSource(path))
    except AudioError as error:
        from_file = (np.zeros(0, np.float32), str(error))
    with pipe_with(data) as reading:
        from_pipe = await hear(FileSource(reading))
    return [from_file, from_pipe]


def assert_is(heard: np.ndarray, pcm: np.ndarray) -> None:
    """The same sound, but for what a codec adds at its edges."""
    expected = soxr.resample(pcm, 16_000, SAMPLE_RATE_HERTZ)
    assert len(heard) == pytest.approx(len(expected), abs=0.15 * SAMPLE_RATE_HERTZ)
    size = 1 << 18
    spectra = np.fft.rfft(heard, size), np.fft.rfft(expected, size)
    # The most alike they are at any shift against each other.
    likeness = np.fft.irfft(spectra[0] * spectra[1].conj()).max()
    assert likeness > 0.9 * np.sqrt(np.square(heard).sum() * np.square(expected).sum())
