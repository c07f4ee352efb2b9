import pytest

from stt_service.engine.errors import InvalidOptions
from stt_service.engine.pauses import IGNORED_STEPS, PauseDetector, check_threshold, choose_head

HEADS_S = (0.5, 1.0, 2.0, 3.0)


def run(detector: PauseDetector, *steps: tuple[float, bool]) -> list[int]:
    """Feed (probability, spoken); the steps at which it fired."""
    fired = []
    for number, (probability, spoken) in enumerate(steps):
        if spoken:
            detector.note_speech()
        if detector.feed(probability):
            fired.append(number)
    return fired


def make_detector() -> PauseDetector:
    detector = PauseDetector(threshold=0.5)
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
    assert run(PauseDetector(0.5), *[(0.9, True)] * IGNORED_STEPS) == []


def test_a_last_word_that_comes_after_its_pause_does_not_fire_again() -> None:
    steps = [(0.0, True), (0.9, False), (0.9, True), (0.9, False), (0.4, False), (0.9, False)]
    assert run(make_detector(), *steps) == [1]


def test_a_single_word_that_comes_after_its_pause_fires_with_it() -> None:
    assert run(make_detector(), (0.9, False), (0.9, True), (0.9, False)) == [1]


@pytest.mark.parametrize("threshold", [-1.0, 0.0, 1.0, 7.0])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(InvalidOptions, match=r"not within \(0, 1\)"):
        check_threshold(threshold)
