"""Sources: any rate, any channels, any cut, the same audio."""

import asyncio
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from client.audio import (
    ArraySource,
    FileSource,
    PacedSource,
    Resampler,
)
from client.options import SAMPLE_RATE_HERTZ, Encoding


def sine(rate_hertz: int, duration_s: float, channels: int = 1) -> np.ndarray:
    times = np.arange(round(rate_hertz * duration_s)) / rate_hertz
    tone = (0.5 * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    return tone if channels == 1 else np.stack([tone] * channels, axis=1)


async def collect(source: PacedSource) -> np.ndarray:
    return np.concatenate([block async for block in source])


@given(
    rate_hertz=st.sampled_from([8_000, 16_000, 22_050, 24_000, 44_100, 48_000]),
    cuts=st.lists(st.integers(0, 4_000), max_size=6),
)
@settings(deadline=None, max_examples=40)
def test_resampling_in_pieces_equals_resampling_at_once(rate_hertz: int, cuts: list[int]) -> None:
    whole = sine(rate_hertz, 0.2)
    resampler = Resampler(rate_hertz)
    borders = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [resampler.push(whole[start:end]) for start, end in pairwise(borders)]
    pieces.append(resampler.finish())

    at_once = soxr.resample(whole, rate_hertz, SAMPLE_RATE_HERTZ)
    np.testing.assert_allclose(np.concatenate(pieces), at_once, atol=1e-5)


@pytest.mark.parametrize("rate_hertz", [8_000, 24_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [("wav", "PCM_16", 1e-3), ("wav", "FLOAT", 1e-5), ("flac", "PCM_24", 1e-4)],
)
async def test_a_file_of_any_rate_and_channels_is_the_same_tone(
    tmp_path: Path, rate_hertz: int, channels: int, suffix: str, subtype: str, tolerance: float
) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, sine(rate_hertz, 0.5, channels), rate_hertz, subtype)
    heard = await collect(FileSource(path))

    expected = soxr.resample(sine(rate_hertz, 0.5), rate_hertz, SAMPLE_RATE_HERTZ)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, expected, atol=tolerance)


@pytest.mark.parametrize(
    ("suffix", "format_name", "subtype"),
    [("mp3", "MP3", "MPEG_LAYER_III"), ("ogg", "OGG", "VORBIS"), ("opus", "OGG", "OPUS")],
)
async def test_lossy_files_keep_the_tone(
    tmp_path: Path, suffix: str, format_name: str, subtype: str
) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, sine(48_000, 1.0, 2), 48_000, subtype, format=format_name)
    heard = await collect(FileSource(path))

    spectrum = np.abs(np.fft.rfft(heard[4_800:-4_800]))
    frequency = np.argmax(spectrum) * SAMPLE_RATE_HERTZ / (len(heard) - 9_600)
    assert frequency == pytest.approx(440, abs=4)
    assert len(heard) == pytest.approx(SAMPLE_RATE_HERTZ, abs=2_400)


class FakeTime:
    """A clock that moves only with sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, delay_s: float) -> None:
        self.now += delay_s
        await asyncio.sleep(0)


@pytest.mark.parametrize("pace", [1.0, 4.0])
async def test_a_paced_block_comes_when_its_last_sample_was_spoken(pace: float) -> None:
    time = FakeTime()
    blocks = [np.zeros(1_920, np.float32)] * 3 + [np.zeros(100, np.float32)]
    source = PacedSource(blocks, 1.0, pace, time.clock, time.sleep)
    arrivals = [time.now - 100.0 async for _ in source]

    spoken = np.cumsum([len(block) for block in blocks]) / SAMPLE_RATE_HERTZ
    np.testing.assert_allclose(arrivals, spoken / pace, atol=1e-9)
    assert source.started_at == 100.0
    assert source.time_of(0.16) == pytest.approx(100.0 + 0.16 / pace)
    assert source.position_s == pytest.approx(spoken[-1])


async def test_a_late_block_does_not_shift_the_later_ones() -> None:
    time = FakeTime()
    source = PacedSource([np.zeros(1_920, np.float32)] * 3, 0.24, 1.0, time.clock, time.sleep)
    arrivals: list[float] = []
    async for _ in source:
        arrivals.append(round(time.now - 100.0, 6))
        if len(arrivals) == 1:
            time.now += 0.1
    assert arrivals == [0.08, 0.18, 0.24]


def test_a_pace_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        ArraySource(np.zeros(10, np.float32), pace=0.0)


async def test_an_array_is_cut_into_frames() -> None:
    samples = np.arange(5_000, dtype=np.float32) / 5_000
    blocks = [block async for block in ArraySource(samples)]

    assert [len(block) for block in blocks] == [1_920, 1_920, 1_160]
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


def test_encodings_write_little_endian_samples_and_clip() -> None:
    pcm = np.array([0.0, 0.5, -1.0, 2.0], np.float32)

    assert Encoding.PCM_F32LE.encode(pcm) == pcm.astype("<f4").tobytes()
    assert np.frombuffer(Encoding.PCM_S16LE.encode(pcm), "<i2").tolist() == [
        0,
        16384,
        -32767,
        32767,
    ]
