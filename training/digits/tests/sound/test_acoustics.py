import numpy as np
import pytest

from digits_training.sound.acoustics import (
    Acoustics,
    Conditions,
    lay_words,
    mark_clips,
    mute_gaps,
    pass_through_mulaw,
    shape,
)
from digits_training.sound.clips import ClipBank, Part, cut_at
from digits_training.sound.composition import Composer, Spoken, Utterance, lay_clip
from digits_training.sound.noise import make_noises
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

NOTHING_HAPPENS = Conditions(
    level_db=(0.0, 0.0),
    noiseless_share=1.0,
    reverb_share=0.0,
    narrow_band_share=0.0,
    tilt_db=0.0,
    zeros_share=0.0,
    int16_share=0.0,
    mulaw_share=0.0,
)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3])
def test_a_word_sounds_where_the_utterance_says(bank: ClipBank, speed: float) -> None:
    word = Spoken(bank.clips[0], 1.0, speed, 1.0)
    sound = lay_words(Utterance(3.0, [word], 3.0))
    sounding = np.flatnonzero(np.abs(sound) > 0.05) / SAMPLE_RATE_HERTZ
    assert sounding[0] == pytest.approx(word.start_s, abs=0.02)
    assert sounding[-1] == pytest.approx(word.end_s, abs=0.02)


def test_words_at_the_edges_of_the_window_are_cut(bank: ClipBank) -> None:
    words = [Spoken(bank.clips[0], 0.0, 1.0, 1.0), Spoken(bank.clips[0], 0.95, 1.0, 1.0)]
    assert lay_words(Utterance(1.0, words, 2.0)).shape == (SAMPLE_RATE_HERTZ,)


def test_rendering_stays_within_range_and_is_repeatable(bank: ClipBank) -> None:
    acoustics = Acoustics(make_noises(np.random.default_rng(1), bank))
    composer = Composer(bank)
    for seed in range(30):
        utterance = composer.compose(np.random.default_rng(seed), 6.4)
        sound, again = (acoustics.render(np.random.default_rng(seed), utterance) for _ in "ab")
        assert sound.dtype == np.float32
        assert sound.shape == (153_600,)
        assert np.abs(sound).max() <= 1.0
        np.testing.assert_array_equal(sound, again)


def test_when_nothing_happens_the_words_come_through_unchanged(bank: ClipBank) -> None:
    utterance = Utterance(3.0, [Spoken(bank.clips[0], 1.0, 1.0, 1.0)], 3.0)
    sound = Acoustics([], NOTHING_HAPPENS).render(np.random.default_rng(0), utterance)
    np.testing.assert_allclose(sound, lay_words(utterance), atol=1e-4)


def test_muting_leaves_words_alone_and_makes_exact_zeros(bank: ClipBank) -> None:
    utterance = Utterance(4.0, [Spoken(bank.clips[0], at_s, 1.0, 1.0) for at_s in (1.0, 2.5)], 5.0)
    sound = np.full(4 * SAMPLE_RATE_HERTZ, 0.1, np.float32)
    muted_samples = 0
    for seed in range(50):
        muted = mute_gaps(np.random.default_rng(seed), sound, utterance)
        for word in utterance.words:
            bounds = slice(*(int(at * SAMPLE_RATE_HERTZ) for at in (word.start_s, word.end_s)))
            assert (muted[bounds] == sound[bounds]).all()
        assert set(np.unique(muted)) <= {np.float32(0), np.float32(0.1)}
        muted_samples += int((muted == 0).sum())
    assert muted_samples > 0
    assert (sound == np.float32(0.1)).all(), "the input is not written to"


def test_mulaw_keeps_levels_to_within_a_few_percent() -> None:
    sound = np.linspace(-1, 1, 1001, dtype=np.float32)
    np.testing.assert_allclose(pass_through_mulaw(sound), sound, atol=0.025)


def test_a_shaped_noise_keeps_its_power_and_changes_its_spectrum() -> None:
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(SAMPLE_RATE_HERTZ * 2).astype(np.float32)
    shaped = shape(rng, noise, 40.0)
    assert shaped.shape == noise.shape
    assert np.sqrt(np.mean(shaped**2)) == pytest.approx(1.0, abs=1e-3)
    powers = np.abs(np.fft.rfft(shaped)) ** 2
    thirds = [part.mean() for part in np.array_split(powers[: len(powers) // 3], 10)]
    assert max(thirds) > 10 * min(thirds)


def test_clips_are_marked_from_their_first_sample_to_their_last(bank: ClipBank) -> None:
    words = [Spoken(bank.clips[0], at_s, 1.1, 1.0) for at_s in (0.0, 1.0, 1.8)]
    utterance = Utterance(2.0, words, 2.0)
    sound, marks = lay_words(utterance), mark_clips(utterance)
    assert marks.shape == sound.shape
    assert set(np.unique(marks)) == {0.0, 1.0}
    assert np.abs(sound[marks == 0]).max() < 1e-3
    bounds = np.flatnonzero(np.diff(marks))[:2] / SAMPLE_RATE_HERTZ
    clip = bank.clips[0]
    first_end_s = (len(clip.samples) / SAMPLE_RATE_HERTZ - clip.onset_s) / 1.1
    assert bounds[0] == pytest.approx(first_end_s, abs=0.002)
    assert bounds[1] == pytest.approx(1.0 - clip.onset_s / 1.1, abs=0.002)


def test_the_sound_of_a_phrase_is_laid_once() -> None:
    samples = np.full(24_000, 0.3, np.float32)
    parts = [Part("one", 0.1, 0.4), Part("two", 0.5, 0.9)]
    clip = cut_at("robot", parts, samples=samples, start_s=0.0, stop_s=1.0)
    utterance = Utterance(2.0, lay_clip(clip, 0.5, speed=1.0, gain=1.0), 2.0)
    sound, marks = lay_words(utterance), mark_clips(utterance)
    at = round((0.5 - clip.onset_s) * SAMPLE_RATE_HERTZ)
    np.testing.assert_allclose(sound[at : at + len(samples)], clip.samples, atol=1e-3)
    assert marks.sum() == pytest.approx(len(samples), abs=1)
