"""Which rows are no numbers, and when it is the model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.model import StepOutput
from stt_service.engine.rows import BrokenModel, RowGuard, find_broken_rows

TEXT_IDS = 10
INT64 = st.integers(-(2**63), 2**63 - 1)
ANY_FLOAT = st.floats(width=32)


def mask(*rows: int) -> np.ndarray:
    return np.array(rows, dtype=np.bool_)


def output(rows: list[tuple[int, float, float]]) -> StepOutput:
    ids, probabilities, pauses = zip(*rows, strict=True)
    return StepOutput(
        np.array(ids, dtype=np.int64),
        np.array(probabilities, dtype=np.float32),
        np.array([[0.5, pause] for pause in pauses], dtype=np.float32),
    )


@given(st.lists(st.tuples(INT64, ANY_FLOAT, ANY_FLOAT, st.booleans()), min_size=1, max_size=8))
def test_a_row_that_is_left_over_is_an_id_with_probabilities(rows) -> None:
    active = np.array([active for *_, active in rows], dtype=np.bool_)
    given_output = output([row[:3] for row in rows])
    broken = find_broken_rows(active, given_output, TEXT_IDS)
    assert not (broken & ~active).any()
    for (text_id, probability, pause, is_active), is_broken in zip(rows, broken, strict=True):
        if is_active and not is_broken:
            assert 0 <= text_id < TEXT_IDS
            assert -0.01 < probability < 1.01
            assert -0.01 < pause < 1.01
        elif is_active and 0 <= text_id < TEXT_IDS and 0 <= probability <= 1:
            assert not 0 <= pause <= 1


@pytest.mark.parametrize(
    "row",
    [
        (-1, 0.5, 0.5),
        (TEXT_IDS, 0.5, 0.5),
        (3, np.nan, 0.5),
        (3, np.inf, 0.5),
        (3, 0.5, np.nan),
        (3, -0.5, 0.5),
    ],
)
def test_what_means_nothing_is_found_in_its_row_alone(row) -> None:
    rows = output([(3, 1.0, 0.0), row, (3, 0.0, 1.0)])
    assert find_broken_rows(mask(1, 1, 1), rows, TEXT_IDS).tolist() == [False, True, False]
    assert not find_broken_rows(mask(1, 0, 1), rows, TEXT_IDS).any()


def test_a_model_without_vad_heads_has_no_pauses_to_check() -> None:
    ids, ones = np.zeros(2, dtype=np.int64), np.ones(2, dtype=np.float32)
    without = StepOutput(ids, ones, np.zeros((2, 0), dtype=np.float32))
    assert not find_broken_rows(mask(1, 1), without, TEXT_IDS).any()


def test_three_broken_rows_with_no_good_one_between_are_the_model() -> None:
    guard = RowGuard(8)
    guard.check(mask(1, 0, 0, 0, 0, 0, 0, 0), mask(1, 0, 0, 0, 0, 0, 0, 0))
    guard.check(mask(0, 1, 0, 0, 0, 0, 0, 0), mask(0, 1, 0, 0, 0, 0, 0, 0))
    with pytest.raises(BrokenModel, match="3 outputs of the model in a row"):
        guard.check(mask(0, 0, 1, 0, 0, 0, 0, 0), mask(0, 0, 1, 0, 0, 0, 0, 0))


def test_rows_of_one_step_count_each() -> None:
    with pytest.raises(BrokenModel):
        RowGuard(3).check(mask(1, 1, 1), mask(1, 1, 1))


def test_a_slot_that_breaks_again_and_again_is_not_excused_by_its_neighbours() -> None:
    guard = RowGuard(2)
    for _ in range(2):
        guard.check(mask(1, 1), mask(1, 0))
    with pytest.raises(BrokenModel):
        guard.check(mask(1, 1), mask(1, 0))


def test_broken_rows_far_apart_are_not_the_model() -> None:
    guard = RowGuard(2)
    for _ in range(20):
        guard.check(mask(1, 1), mask(1, 0))
        guard.check(mask(1, 1), mask(0, 0))
