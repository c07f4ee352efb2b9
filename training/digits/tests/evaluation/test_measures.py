import numpy as np
import pytest

from digits_training.evaluation.listening import Heard
from digits_training.evaluation.measures import (
    NOTHING,
    count_confusions,
    count_word_errors,
    measure_head,
    measure_hesitations,
    measure_pauses,
    measure_time_errors,
)
from digits_training.evaluation.trials import Trial, TrueWord
from digits_training.vocabulary import DIGITS, FRAME_SECONDS
from stt_service.engine.events import Word

SILENCE = np.zeros(0, np.float32)


def make_trial(*turns: list[tuple[str, float, float]]) -> Trial:
    return Trial("test", SILENCE, [[TrueWord(*word) for word in turn] for turn in turns])


def hear(*words: tuple[str, float]) -> Heard:
    return Heard([Word(text, start_s, start_s + 0.3, 1.0) for text, start_s in words])


def test_each_kind_of_error_counts_once() -> None:
    trial = make_trial([("one", 1.0, 1.3), ("two", 2.0, 2.3), ("three", 3.0, 3.3)])
    heard = hear(("one", 1.0), ("nine", 2.0), ("three", 3.0), ("four", 4.0))
    errors = count_word_errors([trial, trial], [heard, hear(("one", 1.0), ("three", 3.0))])
    assert (errors.said, errors.errors) == (6, 3)
    assert errors.rate == pytest.approx(0.5)


def test_confusions_have_a_place_for_words_that_are_missing() -> None:
    trial = make_trial([("one", 1.0, 1.3), ("two", 2.0, 2.3)])
    counts = count_confusions([trial, trial], [hear(("one", 1.0)), hear(("one", 1), ("six", 2))])
    one, two, six = (DIGITS.index(word) for word in ("one", "two", "six"))
    assert counts[one, one] == 2
    assert counts[two, NOTHING] == 1
    assert counts[two, six] == 1
    assert counts.sum() == 4


def test_times_are_compared_for_words_that_were_understood() -> None:
    trial = make_trial([("one", 1.0, 1.3), ("two", 2.0, 2.3)])
    errors_s = measure_time_errors([trial], [hear(("one", 1.1), ("nine", 2.0))])
    assert errors_s.tolist() == pytest.approx([0.1])


def listen_with_heads(trial: Trial, fired_s: list[tuple[float, float]], steps: int = 200) -> Heard:
    ends_s = (np.arange(steps) + 1) * FRAME_SECONDS
    heads = np.zeros((steps, 4), np.float32)
    for start_s, end_s in fired_s:
        heads[(ends_s > start_s) & (ends_s <= end_s)] = 1.0
    return Heard(pauses_s=[start_s for start_s, _ in fired_s], heads=heads)


TALK = make_trial([("one", 1.0, 1.4), ("two", 1.8, 2.2)], [("three", 5.0, 5.4)])


def test_a_turn_that_is_ended_once_and_soon_is_measured_so() -> None:
    heard = listen_with_heads(TALK, [(2.6, 4.0), (5.9, 8.0)])
    figures = measure_pauses([TALK], [heard], head=2)
    assert (figures.turns, figures.turns_ended_once, figures.turns_ended_never) == (2, 2, 0)
    assert figures.median_s == pytest.approx(0.45)
    assert figures.share_within_words == figures.share_between_words == 0.0


def test_turns_that_are_never_ended_have_no_delay() -> None:
    trial = make_trial([("one", 1.0, 1.4), ("two", 1.6, 2.0)])
    figures = measure_pauses([trial], [listen_with_heads(trial, [])], head=2)
    assert (figures.turns, figures.turns_ended_never) == (1, 1)
    assert (figures.median_s, figures.p95_s) == (None, None)


def test_a_pause_within_a_turn_and_one_within_a_word_are_seen() -> None:
    heard = listen_with_heads(TALK, [(1.5, 1.7), (2.0, 2.15)])
    figures = measure_pauses([TALK], [heard], head=2)
    assert figures.turns_ended_never == 2
    assert figures.pauses_within_turns == 2
    assert figures.share_within_words > 0
    assert figures.share_between_words > 0.4


def test_only_long_gaps_within_turns_are_hesitations() -> None:
    talk = make_trial([("one", 1.0, 1.4), ("two", 2.2, 2.6), ("six", 2.8, 3.0)], [("ten", 6, 7)])
    patient = Heard(pauses_s=[2.7, 3.5])
    hasty = Heard(pauses_s=[2.0, 3.5])
    for heard, taken in ((patient, 0), (hasty, 1)):
        figures = measure_hesitations([talk], [heard])
        assert (figures.hesitations, figures.taken_for_pauses) == (1, taken)


def test_a_head_must_fire_before_the_gap_is_as_long_as_it_says() -> None:
    early = listen_with_heads(TALK, [(3.0, 4.9)])
    late = listen_with_heads(TALK, [(4.5, 4.9)])
    assert measure_head([TALK], [early], head=2).predicted == 1
    assert measure_head([TALK], [late], head=2).predicted == 0
    assert measure_head([TALK], [late], head=2).long_gaps == 1


def test_a_head_that_fires_in_a_shorter_gap_raises_a_false_alarm() -> None:
    figures = measure_head([TALK], [listen_with_heads(TALK, [(1.5, 1.7)])], head=2)
    assert (figures.shorter_gaps, figures.false_alarms) == (1, 1)
