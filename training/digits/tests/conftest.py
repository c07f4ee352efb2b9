"""A small bank of made-up words: tones, which are enough to check times and shapes."""

import numpy as np
import pytest

from digits_training.sound.clips import Clip, ClipBank, cut_clip
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ


def make_tone(word: str, voice: str, *, human: bool, seconds: float = 0.3) -> Clip:
    """A tone between two silences of a fifth of a second."""
    times_s = np.arange(int(seconds * SAMPLE_RATE_HERTZ)) / SAMPLE_RATE_HERTZ
    hertz = 200 + 60 * len(word) + 10 * len(voice)
    silence = np.zeros(SAMPLE_RATE_HERTZ // 5)
    tone = 0.3 * np.sin(2 * np.pi * hertz * times_s)
    samples = np.concatenate([silence, tone, silence]).astype(np.float32)
    return cut_clip(word, voice, human=human, samples=samples, rate_hertz=SAMPLE_RATE_HERTZ)


@pytest.fixture(scope="session")
def bank() -> ClipBank:
    """Two human voices and a synthetic one that also says other words."""
    human = [make_tone(word, voice, human=True) for voice in ("ada", "bob") for word in DIGITS]
    synthetic = [
        make_tone(word, "robot", human=False) for word in (*DIGITS, "heaven", "tree", "window")
    ]
    return ClipBank([*human, *synthetic])
