import numpy as np
import pytest

from digits_training.sound.clips import Clip
from digits_training.sound.shifting import THROATS, is_shifted, name_speaker, shift_clips
from digits_training.vocabulary import SAMPLE_RATE_HERTZ


def make_vowel(pitch_hertz: float = 110.0) -> Clip:
    """Pulses through two resonances, between silences."""
    times_s = np.arange(int(0.5 * SAMPLE_RATE_HERTZ)) / SAMPLE_RATE_HERTZ
    harmonics = np.arange(1, 40) * pitch_hertz
    gains = sum(1 / (1 + ((harmonics - formant) / 120) ** 2) for formant in (600, 1_500))
    sound = (gains[:, None] * np.sin(2 * np.pi * harmonics[:, None] * times_s)).sum(axis=0)
    silence = np.zeros(SAMPLE_RATE_HERTZ // 5)
    samples = np.concatenate([silence, 0.4 * sound / np.abs(sound).max(), silence])
    return Clip("one", "ada", True, 0.2, 0.7, samples.astype(np.float32))


def measure_pitch(clip: Clip) -> float:
    parselmouth = pytest.importorskip("parselmouth", reason="the extra `voices` is not installed")
    sound = parselmouth.Sound(clip.samples.astype(np.float64), SAMPLE_RATE_HERTZ)
    pitch = sound.to_pitch(None, 60, 500).selected_array["frequency"]
    return float(np.median(pitch[pitch > 0]))


def test_each_throat_has_a_pitch_of_its_own_and_the_word_keeps_its_place() -> None:
    clips = [make_vowel()] * len(THROATS)
    assert measure_pitch(clips[0]) == pytest.approx(110, rel=0.02)
    for throat, clip in zip(THROATS, shift_clips(clips, np.random.default_rng(1)), strict=True):
        low, high = throat.pitch_hertz
        assert low * 0.97 < measure_pitch(clip) < high * 1.03
        sounding = np.flatnonzero(np.abs(clip.samples) > 0.05) / SAMPLE_RATE_HERTZ
        assert sounding[0] == pytest.approx(clip.onset_s, abs=0.03)
        assert sounding[-1] == pytest.approx(clip.end_s, abs=0.03)


def test_a_shifted_voice_still_says_whose_it_is() -> None:
    pytest.importorskip("parselmouth", reason="the extra `voices` is not installed")
    (clip,) = shift_clips([make_vowel()], np.random.default_rng(1))
    assert is_shifted(clip.voice)
    assert not is_shifted("ada")
    assert name_speaker(clip.voice) == name_speaker("ada") == "ada"
    assert clip.human
