"""Any number of channels as one: the voice is in it, however they are wired."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import MODEL_RATE_HERTZ, load_recordings
from tests.unit.gateway.web.conftest import Play

GAINS = st.lists(st.sampled_from([-1.0, -0.9, 0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=8)


def play_mix(
    play_js: Play, channels: npt.NDArray[np.float32], block_samples: int
) -> npt.NDArray[np.float32]:
    starts = range(0, channels.shape[1], block_samples)
    blocks = [channels[:, start : start + block_samples].tolist() for start in starts]
    return np.array(play_js(mix=blocks), np.float32)


def loudness(samples: npt.NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    gains=GAINS.filter(any),
    noise=st.sampled_from([0.0, 0.001, 0.02]),
    # A block of the audio thread, and one of a recording.
    block_samples=st.sampled_from([128, 1_920]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_voice_is_in_the_mix(
    play_js: Play, gains: list[float], noise: float, block_samples: int, seed: int
) -> None:
    voice = load_recordings()[0].samples()[: MODEL_RATE_HERTZ // 2]
    random = np.random.default_rng(seed)
    hiss = noise * random.standard_normal((len(gains), len(voice)))
    channels = (np.outer(gains, voice) + hiss).astype(np.float32)
    mixed = play_mix(play_js, channels, block_samples)

    loudest = max(loudness(channel) for channel in channels)
    # A voice on one of n channels has an n-th of its amplitude in their average; half of that,
    # and a little for the beginning, is what a partial cancelling may leave.
    assert loudness(mixed) >= 0.45 * loudest / len(gains)
    assert loudness(mixed) <= loudest * 1.001


@pytest.mark.parametrize("block_samples", [128, 1_920])
def test_channels_that_cancel_do_not_take_turns(play_js: Play, block_samples: int) -> None:
    """One is the other upside down, with noise of its own: a change of sign would be a click."""
    voice = load_recordings()[0].samples()[:MODEL_RATE_HERTZ]
    hiss = 0.002 * np.random.default_rng(1).standard_normal((2, len(voice)))
    channels = (np.stack([voice, -voice]) + hiss).astype(np.float32)
    mixed = play_mix(play_js, channels, block_samples)

    loud = np.abs(voice) > 0.1
    assert len(np.unique(np.sign(mixed[loud] * voice[loud]))) == 1


def test_channels_that_agree_are_averaged(play_js: Play) -> None:
    left, right = np.random.default_rng(2).standard_normal((2, 4_000)).astype(np.float32)
    mixed = play_mix(play_js, np.stack([left, right]), 128)

    assert mixed == pytest.approx((left + right) / 2, abs=1e-6)
