import pytest

from stt_service.engine.errors import InvalidOptions
from stt_service.engine.pauses import (
    IGNORED_STEPS,
    HeadPauseDetector,
    PauseDetector,
    VadOptions,
    check_threshold,
    choose_head,
    make_pause_detector,
)
from tests.unit.engine.models import make_info

HEADS_S = (0.5, 1.0, 2.0, 3.0)


def run(detector: PauseDetector, *steps: tuple[float, bool]) -> list[int]:
    """Feed (probability, spoken); the steps at which it fired."""
    fired = []
    for number, (probability, spoken) in enumerate(steps):
        if spoken:
            detector.note_speech(is_new=True)
        if detector.feed([0.0, 0.0, probability, 0.0]):
            fired.append(number)
    return fired


def make_detector() -> PauseDetector:
    detector = HeadPauseDetector(make_info(), VadOptions(2.0, 0.5))
    run(detector, *[(0.0, False)] * IGNORED_STEPS)
    return detector


def test_the_two_second_head_has_index_two() -> None:
    assert choose_head(2.0, HEADS_S) == 2


def test_an_unknown_pause_names_the_known_ones() -> None:
    with pytest.raises(InvalidOptions, match=r"0\.5, 1, 2, 3 s, not of 1\.5 s"):
        choose_head(1.5, HEADS_S)


def test_fires_once_a_turn() -> None:
    turn = [(0.0, True), (0.1, False), (0.9, False), (0.9, False), (0.9, False)]
    assert run(make_detector(), *turn, *turn) == [2, 7]


def test_silence_before_the_first_word_is_no_pause() -> None:
    assert run(make_detector(), *[(0.9, False)] * 20) == []


def test_the_first_steps_are_ignored() -> None:
    assert run(HeadPauseDetector(make_info(), VadOptions()), *[(0.9, True)] * IGNORED_STEPS) == []


def test_a_last_word_that_comes_after_its_pause_does_not_fire_again() -> None:
    steps = [(0.0, True), (0.9, False), (0.9, True), (0.9, False), (0.4, False), (0.9, False)]
    assert run(make_detector(), *steps) == [1]


def test_a_single_word_that_comes_after_its_pause_fires_with_it() -> None:
    assert run(make_detector(), (0.9, False), (0.9, True), (0.9, False)) == [1]


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.0, 7.0])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(InvalidOptions, match=r"not within \(0, 1\)"):
        check_threshold(threshold)


def test_other_settings_hold_from_the_next_step_on() -> None:
    detector = make_detector()
    assert run(detector, (0.0, True), (0.6, False)) == [1]
    detector.change(VadOptions(2.0, threshold=0.7))
    assert run(detector, (0.0, True), (0.6, False), (0.8, False)) == [2]
    detector.change(VadOptions(3.0, threshold=0.7))
    assert run(detector, (0.0, True), (0.8, False)) == []


def make_text_detector(pause_s: float) -> PauseDetector:
    return make_pause_detector(make_info(heads=0), VadOptions(pause_s))


def test_without_heads_a_pause_is_text_that_does_not_come() -> None:
    # 0.4 s are five steps: the pause is over with the fifth after the word's own.
    turn = [(0.0, True), *[(0.0, False)] * 8]
    assert run(make_text_detector(0.4), *[(0.0, False)] * 9, *turn, *turn) == [14, 23]


def test_without_heads_another_piece_starts_the_pause_again() -> None:
    steps = [(0.0, True), *[(0.0, False)] * 4, (0.0, True), *[(0.0, False)] * 5]
    assert run(make_text_detector(0.4), *steps) == [10]


@pytest.mark.parametrize("pause_s", [-1.0, 0.0, 60.1, float("inf"), float("nan")])
def test_without_heads_any_sensible_pause_is_found(pause_s: float) -> None:
    info = make_info(heads=0)
    with pytest.raises(InvalidOptions, match="above 0 and at most 60"):
        VadOptions(pause_s).check_against(info)
    VadOptions(1.25, threshold=7.0).check_against(info)
