from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from digits_training.sound.clips import Clip, ClipBank, Part, cut_at
from digits_training.sound.composition import (
    Composer,
    Habits,
    Utterance,
    lay_clip,
    reverse,
)
from digits_training.training.stages import DIGITS_FIRST, MUCH_NOISE
from digits_training.vocabulary import DIGITS

SECONDS = 6.4


def compose_many(bank: ClipBank, count: int, habits: Habits | None = None) -> list[Utterance]:
    composer = Composer(bank, habits or Habits())
    return [composer.compose(np.random.default_rng(seed), SECONDS) for seed in range(count)]


def test_the_same_seed_composes_the_same(bank: ClipBank) -> None:
    first, second = (compose_many(bank, 1)[0] for _ in range(2))
    assert [word.start_s for word in first.words] == [word.start_s for word in second.words]


def test_words_come_one_after_the_other_and_begin_in_the_window(bank: ClipBank) -> None:
    for utterance in compose_many(bank, 200):
        for before, after in pairwise(utterance.words):
            assert after.start_s > before.end_s
        for word in utterance.words:
            assert 0 <= word.start_s < SECONDS
        assert utterance.silent_until_s >= SECONDS


def test_gaps_are_those_of_the_habits(bank: ClipBank) -> None:
    habits = Habits()
    gaps_s = [
        after.start_s - before.end_s
        for utterance in compose_many(bank, 300)
        for before, after in pairwise(utterance.words)
    ]
    short = [gap_s for gap_s in gaps_s if gap_s <= habits.short_gap_s[1]]
    assert min(gaps_s) >= habits.short_gap_s[0] - 1e-9
    assert max(gaps_s) > habits.long_pause_s[0]
    assert len(short) > 0.6 * len(gaps_s)


def test_without_humans_only_synthetic_voices_speak(bank: ClipBank) -> None:
    utterances = compose_many(bank, 50, Habits(human_share=0.0))
    assert {word.clip.voice for one in utterances for word in one.words} == {"robot"}


def test_other_words_are_never_named_digits(bank: ClipBank) -> None:
    utterances = compose_many(bank, 50, Habits(mostly_other_words_share=1.0))
    words = [word.clip.word for one in utterances for word in one.words]
    others = [word for word in words if word not in DIGITS]
    assert len(others) > 0.5 * len(words)


def test_other_words_become_more_once_the_digits_are_known(bank: ClipBank) -> None:
    def count_others(habits: Habits) -> int:
        utterances = compose_many(bank, 200, habits)
        return sum(word.clip.word not in DIGITS for one in utterances for word in one.words)

    assert count_others(Habits()) > 1.3 * count_others(DIGITS_FIRST.habits)


def test_nobody_speaks_more_often_among_the_noise(bank: ClipBank) -> None:
    def count_speechless(habits: Habits) -> int:
        return sum(not one.words for one in compose_many(bank, 200, habits))

    assert count_speechless(MUCH_NOISE.habits) > 1.5 * count_speechless(Habits()) > 0


def test_a_reversed_clip_is_no_digit_and_keeps_its_bounds(bank: ClipBank) -> None:
    clip = bank.clips[0]
    backwards = reverse(clip)
    assert backwards.word not in DIGITS
    sounding = np.flatnonzero(np.abs(backwards.samples) > 0.05)
    rate = 24_000
    assert sounding[0] / rate == pytest.approx(backwards.onset_s, abs=0.02)
    assert sounding[-1] / rate == pytest.approx(backwards.end_s, abs=0.02)


def make_phrase(voice: str) -> Clip:
    samples = np.full(30_000, 0.3, np.float32)
    parts = [Part(word, 0.1 + 0.4 * n, 0.4 + 0.4 * n) for n, word in enumerate(DIGITS[:3])]
    return cut_at(voice, parts, samples=samples, start_s=0.0, stop_s=1.25)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.3])
def test_a_phrase_is_laid_whole_and_its_words_keep_their_places(speed: float) -> None:
    clip = make_phrase("kokoro-1")
    words = lay_clip(clip, 2.0, speed=speed, gain=1.0)
    assert [word.clip.word for word in words] == list(DIGITS[:3])
    assert [word.carried for word in words] == [False, True, True]
    assert words[0].start_s == 2.0
    for word, part in zip(words[1:], clip.rest, strict=True):
        assert word.clip_start_s == pytest.approx(words[0].clip_start_s)
        assert word.start_s - words[0].start_s == pytest.approx((part.onset_s - 0.1) / speed)
        assert word.end_s - word.start_s == pytest.approx(0.3 / speed)


def test_neural_voices_have_a_share_of_their_own(bank: ClipBank) -> None:
    robots = [replace(clip, voice=f"{clip.voice}-{n}") for clip in bank.clips for n in range(10)]
    voices = ClipBank([*robots, make_phrase("kokoro-1")])
    habits = Habits(human_share=0.0, neural_share=0.4, mostly_other_words_share=0.0)
    heard = [one.words[0].clip.voice for one in compose_many(voices, 300, habits) if one.words]
    share = sum(voice.startswith("kokoro") for voice in heard) / len(heard)
    assert share == pytest.approx(0.4 + 0.6 / 11, abs=0.08)


def test_shifted_recordings_have_a_share_of_what_people_say(bank: ClipBank) -> None:
    people = bank.filter(lambda clip: clip.human)
    shifted = [replace(clip, voice=f"{clip.voice}/woman") for clip in people.clips]
    habits = Habits(human_share=1.0, shifted_share=0.3, mostly_other_words_share=0.0)
    utterances = compose_many(ClipBank([*people.clips, *shifted]), 300, habits)
    voices = [one.words[0].clip.voice for one in utterances if one.words]
    assert sum("/" in voice for voice in voices) / len(voices) == pytest.approx(0.3, abs=0.08)
