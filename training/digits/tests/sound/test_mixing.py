import numpy as np
import pytest

from digits_training.sound.mixing import (
    HELD_OUT_VOICES_OF_EACH,
    NEURAL_VOICE_PREFIX,
    TRAINING_VOICES,
    list_held_out_voices,
    list_training_voices,
)
from digits_training.sound.neural import BASE_VOICES, MAN


def test_the_shares_of_a_voice_sum_to_one() -> None:
    for voice in (*list_training_voices(), *list_held_out_voices()):
        for shares in (voice.style.timbre, voice.style.prosody):
            assert len(shares) == len(BASE_VOICES)
            assert sum(shares) == pytest.approx(1)


def test_no_voice_of_the_training_is_like_one_that_is_held_out() -> None:
    training, held_out = list_training_voices(), list_held_out_voices()
    for voice in training:
        for stranger in held_out:
            difference = np.abs(np.subtract(voice.style.timbre, stranger.style.timbre)).sum()
            assert difference >= 0.2, (voice.voice, stranger.voice)
    names = [voice.voice for voice in (*training, *held_out)]
    assert len(set(names)) == len(names) == TRAINING_VOICES + 2 * HELD_OUT_VOICES_OF_EACH
    assert all(name.startswith(NEURAL_VOICE_PREFIX) for name in names)


def test_women_and_men_are_as_many_and_told_apart_by_the_mans_share() -> None:
    man = BASE_VOICES.index(MAN)
    men = [voice.style.timbre[man] > 0.5 for voice in list_training_voices()]
    assert sum(men) == TRAINING_VOICES // 2
    for voice in list_held_out_voices():
        assert (voice.style.timbre[man] > 0.5) == ("-man-" in voice.voice)
