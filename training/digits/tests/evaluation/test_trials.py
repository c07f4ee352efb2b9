from itertools import pairwise

import numpy as np
import pytest

from digits_training.evaluation.trials import (
    HESITATION_S,
    TAKES_OF_EACH_RECORDING,
    WORDS_PER_STRING,
    make_digit_strings,
    make_onsets,
    make_other_words,
    make_talks,
)
from digits_training.sound.clips import ClipBank
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ


def test_strings_are_human_and_sound_where_they_say(bank: ClipBank) -> None:
    trials = make_digit_strings(bank, seed=1)
    assert {trial.name for trial in trials} == {"ada", "bob"}
    per_voice = len(DIGITS) * TAKES_OF_EACH_RECORDING // WORDS_PER_STRING
    assert len(trials) == 2 * per_voice
    for trial in trials[:3]:
        for word in trial.words:
            middle = int((word.start_s + word.end_s) / 2 * SAMPLE_RATE_HERTZ)
            assert np.abs(trial.audio[middle - 200 : middle + 200]).max() > 0.3
            before = int((word.start_s - 0.03) * SAMPLE_RATE_HERTZ)
            assert not trial.audio[before - 200 : before].any()


def test_one_take_says_every_recording_at_most_once(bank: ClipBank) -> None:
    trials = make_digit_strings(bank, seed=1, takes=1)
    for voice in ("ada", "bob"):
        said = [word.text for trial in trials if trial.name == voice for word in trial.words]
        assert len(said) == len(DIGITS) // WORDS_PER_STRING * WORDS_PER_STRING
        assert len(set(said)) == len(said)


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_noise_has_the_ratio_that_was_asked_for(bank: ClipBank, snr_db: float) -> None:
    clean, noisy = (make_digit_strings(bank, seed=1, snr_db=snr)[0] for snr in (None, snr_db))
    word = np.concatenate(
        [
            clean.audio[int(w.start_s * SAMPLE_RATE_HERTZ) : int(w.end_s * SAMPLE_RATE_HERTZ)]
            for w in clean.words
        ]
    )
    # Clipping takes a little of the noise where the words are loud; silence shows it whole.
    silent = clean.audio == 0
    noise = noisy.audio[silent]
    measured_db = 10 * np.log10(np.mean(word**2) / np.mean(noise**2))
    assert measured_db == pytest.approx(snr_db, abs=0.5)


def test_talks_have_long_pauses_between_turns_and_none_within(bank: ClipBank) -> None:
    for trial in make_talks(bank, seed=1, count=4):
        for turn, following in pairwise(trial.turns):
            assert following[0].start_s - turn[-1].end_s > 2
        for turn in trial.turns:
            gaps_s = [b.start_s - a.end_s for a, b in pairwise(turn)]
            assert all(gap_s < 0.36 for gap_s in gaps_s)


def test_hesitations_are_as_many_as_asked_for(bank: ClipBank) -> None:
    talks = make_talks(bank, seed=1, count=10, hesitation_share=0.5)
    gaps_s = [
        b.start_s - a.end_s for trial in talks for turn in trial.turns for a, b in pairwise(turn)
    ]
    share = sum(gap_s > HESITATION_S[0] - 0.01 for gap_s in gaps_s) / len(gaps_s)
    assert share == pytest.approx(0.5, abs=0.15)


def test_other_words_are_no_digits(bank: ClipBank) -> None:
    trials = make_other_words(bank, seed=1, count=3)
    assert {trial.name for trial in trials} == {"heaven", "tree", "window"}


def test_onsets_begin_with_exact_zeros_and_go_on_with_noise() -> None:
    trials = make_onsets(seed=1, count=30)
    assert any(not trial.audio[0] for trial in trials)
    for trial in trials:
        assert np.abs(trial.audio[SAMPLE_RATE_HERTZ:]).max() > 0
