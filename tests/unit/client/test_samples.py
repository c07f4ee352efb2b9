"""Samples of any type and channels become one voice."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.options import SAMPLE_RATE_HERTZ
from client.samples import AudioError, Resampler
from tests.odd_recordings import speech

BLOCK = 1_920


def mix(samples: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Mono at the rate that it has already, block by block."""
    resampler = Resampler(SAMPLE_RATE_HERTZ)
    return np.concatenate(
        [resampler.push(samples[i : i + block]) for i in range(0, len(samples), block)]
    )


def power(pcm: np.ndarray) -> float:
    return float(np.mean(np.square(pcm.astype(np.float64))))


def noise(seed: int, samples: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@given(
    gain=st.floats(-1.4, -0.7),
    block=st.integers(200, 5_000),
    offset=st.floats(-0.3, 0.3),
    silence=st.integers(0, 5_000),
    channels=st.sampled_from([2, 4]),
)
@settings(max_examples=40)
def test_a_voice_out_of_phase_is_not_averaged_away(
    gain: float, block: int, offset: float, silence: int, channels: int
) -> None:
    voice = np.concatenate([np.zeros(silence, np.float32), speech(1.0, SAMPLE_RATE_HERTZ)])
    stereo = np.stack([voice, np.float32(gain) * voice] * (channels // 2), axis=1)
    mixed = mix(stereo + np.float32(offset), block)

    heard = mixed[silence + block :] - mixed[silence + block :].mean()
    assert power(heard) > 0.9 * min(1.0, gain**2) * power(voice[silence + block :])


@given(block=st.integers(200, 5_000), kind=st.sampled_from(["same", "unrelated", "left", "5.1"]))
@settings(max_examples=40)
def test_channels_that_do_not_cancel_are_averaged(block: int, kind: str) -> None:
    voice = speech(1.0, SAMPLE_RATE_HERTZ)
    nothing = np.zeros_like(voice)
    channels = {
        "same": [voice, voice],
        "unrelated": [voice, noise(1, len(voice))],
        "left": [voice, nothing],
        "5.1": [nothing, nothing, voice, nothing, nothing, nothing],
    }[kind]
    samples = np.stack(channels, axis=1)

    np.testing.assert_allclose(mix(samples, block), samples.mean(axis=1), atol=1e-6)


def test_the_way_from_one_rule_to_the_other_does_not_click() -> None:
    tone = (0.4 * np.sin(2 * np.pi * 200 * np.arange(96_000) / 24_000)).astype(np.float32)
    other = np.concatenate([tone[:48_000], -tone[48_000:]])
    mixed = mix(np.stack([tone, other], axis=1))

    # No step is larger than those of the tone itself.
    assert np.abs(np.diff(mixed)).max() < 1.1 * np.abs(np.diff(tone)).max() + 0.002
    assert power(mixed[-4_800:]) > 0.9 * power(tone)


@given(st.lists(st.integers(0, 4_000), max_size=6))
@settings(max_examples=20)
def test_pieces_of_stereo_are_mixed_as_the_whole(cuts: list[int]) -> None:
    voice = speech(0.2, SAMPLE_RATE_HERTZ)
    stereo = np.stack([voice, noise(2, len(voice))], axis=1)
    resampler = Resampler(SAMPLE_RATE_HERTZ)
    borders = [0, *sorted(min(cut, len(voice)) for cut in cuts), len(voice)]
    pieces = [resampler.push(stereo[start:end]) for start, end in pairwise(borders)]

    np.testing.assert_allclose(np.concatenate(pieces), stereo.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 100.0, -32_768.0, 1e300])
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_that_are_no_audio_are_refused_with_their_place(
    value: float, channels: int
) -> None:
    samples = np.zeros((16_000, channels))
    samples[12_000, channels - 1] = value
    resampler = Resampler(8_000)
    resampler.push(samples[:8_000])

    with pytest.raises(AudioError, match=r"sample at 1\.50 s is .*within \[-1, 1\]") as caught:
        resampler.push(samples[8_000:])
    assert ("divide them by 32768" in str(caught.value)) == bool(abs(value) < 1e30)


@given(st.integers(8_000, 96_000), st.floats(7.0, 8.0))
@settings(max_examples=20)
def test_what_is_loud_and_fine_is_no_louder_afterwards(rate_hertz: int, peak: float) -> None:
    square = np.where(np.arange(4_000) // 20 % 2, peak, -peak).astype(np.float32)
    resampler = Resampler(rate_hertz)
    pcm = np.concatenate([resampler.push(square), resampler.finish()])

    # Beyond this the service refuses it.
    assert np.abs(pcm).max() <= 8.0


def test_int16_is_scaled_and_channels_are_averaged() -> None:
    block = np.array([[16_384, 0], [-32_768, -32_768]], dtype=np.int16)

    np.testing.assert_allclose(mix(block), [0.25, -1.0])


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        (np.zeros(4, np.uint8), "uint8"),
        (np.zeros((4, 2, 2)), "shape"),
        (np.zeros((4, 0)), "shape"),
    ],
)
def test_samples_of_another_type_or_shape_are_refused(samples: np.ndarray, complaint: str) -> None:
    with pytest.raises(AudioError, match=complaint):
        mix(samples)
