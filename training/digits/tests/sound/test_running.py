# ruff: noqa: RUF001 (the phonetic alphabet is what this is about)
import shutil
from itertools import pairwise

import numpy as np
import pytest

from digits_training.sound.neural import Speech
from digits_training.sound.running import PHRASE_WORDS, cut_phrase, draw_phrases, spell
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

BOUNDS_S = [(0.2, 0.5), (0.6, 0.9), (1.0, 1.3)]
WORDS = ["one", "two", "three"]


def make_speech() -> Speech:
    """Every word is a constant; what it is tells which word sounds."""
    samples = np.zeros(int(1.5 * SAMPLE_RATE_HERTZ), np.float32)
    for number, (onset_s, end_s) in enumerate(BOUNDS_S, 1):
        samples[int(onset_s * SAMPLE_RATE_HERTZ) : int(end_s * SAMPLE_RATE_HERTZ)] = number / 10
    return Speech(samples, BOUNDS_S)


@pytest.mark.parametrize("words", [2, 5, 6, 7, 10, 13])
def test_phrases_hold_every_word_once(words: int) -> None:
    for seed in range(30):
        phrases = draw_phrases(np.random.default_rng(seed), words)
        assert phrases[0][0] == 0
        assert phrases[-1][1] == words
        assert all(before[1] == after[0] for before, after in pairwise(phrases))
        lengths = [stop - first for first, stop in phrases]
        assert PHRASE_WORDS[0] <= min(lengths) <= max(lengths) <= PHRASE_WORDS[1]


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (1, 2), (0, 2), (1, 3), (0, 3)])
def test_a_phrase_holds_its_words_and_nothing_of_the_others(first: int, stop: int) -> None:
    clip = cut_phrase("robot", WORDS, make_speech(), first, stop)
    assert [clip.word, *(part.word for part in clip.rest)] == WORDS[first:stop]
    bounds_s = [(clip.onset_s, clip.end_s), *((part.onset_s, part.end_s) for part in clip.rest)]
    loudest = (stop / 10) / 0.5
    for number, (onset_s, end_s) in enumerate(bounds_s, first + 1):
        middle = clip.samples[int((onset_s + end_s) / 2 * SAMPLE_RATE_HERTZ)]
        assert middle == pytest.approx(number / 10 / loudest, abs=0.01)
        assert end_s - onset_s == pytest.approx(0.3, abs=0.03)
    levels = set(np.round(np.unique(clip.samples) * loudest, 1)) - {0.0}
    assert {round(float(level), 1) for level in levels} <= {n / 10 for n in range(1, stop + 1)}


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_words_are_spelled_in_phonemes_that_the_network_knows() -> None:
    assert spell(["three", "church", "boy"]) == ["θɹˈi", "ʧˈɜɹʧ", "bˈY"]
