import numpy as np
import pytest

from digits_training.sound.clips import Clip, ClipBank
from digits_training.sound.composition import Spoken, Utterance
from digits_training.training.targets import (
    FIRST_DIGIT_STATE,
    OTHER_WORD_STATE,
    PAUSE_CLASS,
    SHORTER_GAP_CLASS,
    SILENCE_STATE,
    SPEECH_CLASS,
    TextIds,
    make_targets,
)
from digits_training.vocabulary import DELAY_SECONDS, DIGITS, FRAME_SECONDS

IDS = TextIds(padding=3, end_of_padding=0, pieces={word: 10 + i for i, word in enumerate(DIGITS)})


def find_clip(bank: ClipBank, word: str) -> Clip:
    return next(clip for clip in bank.clips if clip.word == word)


def say(bank: ClipBank, *words: tuple[str, float], until_s: float = 9.0) -> Utterance:
    spoken = [Spoken(find_clip(bank, word), start_s, 1.0, 1.0) for word, start_s in words]
    return Utterance(4.8, spoken, until_s)


@pytest.mark.parametrize("start_s", np.arange(0.3, 1.3, 0.037))
def test_a_reader_of_the_text_finds_the_start_of_the_word(bank: ClipBank, start_s: float) -> None:
    text = make_targets(say(bank, ("seven", start_s)), IDS).text
    (step,) = np.flatnonzero(text == IDS.end_of_padding)
    assert step * FRAME_SECONDS - DELAY_SECONDS == pytest.approx(start_s, abs=FRAME_SECONDS / 2)
    assert text[step + 1] == IDS.pieces["seven"]
    assert np.count_nonzero(text != IDS.padding) == 2


def test_words_that_crowd_each_other_are_all_written_in_order(bank: ClipBank) -> None:
    text = make_targets(say(bank, ("one", 1.0), ("two", 1.02), ("three", 1.04)), IDS).text
    pieces = [IDS.pieces[word] for word in ("one", "two", "three")]
    written = [0, pieces[0], 0, pieces[1], 0, pieces[2]]
    assert text[text != IDS.padding].tolist() == written


def test_other_words_are_not_written_but_are_speech(bank: ClipBank) -> None:
    targets = make_targets(say(bank, ("heaven", 1.0)), IDS)
    assert (targets.text == IDS.padding).all()
    assert (targets.pauses == SPEECH_CLASS).any()
    assert set(targets.states.tolist()) == {SILENCE_STATE, OTHER_WORD_STATE}


def test_each_head_marks_gaps_of_its_length_and_no_shorter_ones(bank: ClipBank) -> None:
    # Sounds last 0.3 s, so the gaps are 0.7 s and, virtually, 2.5 s from 2.3 s on.
    targets = make_targets(say(bank, ("one", 1.0), ("two", 2.0), until_s=4.82), IDS)
    first_gap, second_gap = round(1.6 / FRAME_SECONDS), round(3.0 / FRAME_SECONDS)
    assert targets.pauses[:, first_gap].tolist() == [PAUSE_CLASS] + [SHORTER_GAP_CLASS] * 3
    assert targets.pauses[:, second_gap].tolist() == [PAUSE_CLASS] * 3 + [SHORTER_GAP_CLASS]
    inside = round(1.15 / FRAME_SECONDS)
    assert (targets.pauses[:, inside] == SPEECH_CLASS).all()


def test_the_length_of_a_gap_counts_even_beyond_the_window(bank: ClipBank) -> None:
    last_step = -1
    soon = make_targets(say(bank, ("one", 4.0), until_s=4.9), IDS).pauses[:, last_step]
    late = make_targets(say(bank, ("one", 4.0), until_s=9.0), IDS).pauses[:, last_step]
    assert soon.tolist() == [PAUSE_CLASS] + [SHORTER_GAP_CLASS] * 3
    assert late.tolist() == [PAUSE_CLASS] * 4


def test_states_follow_the_sound(bank: ClipBank) -> None:
    states = make_targets(say(bank, ("four", 1.0)), IDS).states
    sounding = np.flatnonzero(states == FIRST_DIGIT_STATE + 4)
    assert len(sounding) == pytest.approx(0.3 / FRAME_SECONDS, abs=1.01)
    assert np.all(np.diff(sounding) == 1)
