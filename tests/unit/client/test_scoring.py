"""Word errors against an independent definition; percentiles by nearest rank."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.scoring import count_word_errors, percentile, word_error_rate

words = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6)


def edit_distance(left: tuple[str, ...], right: tuple[str, ...]) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        same = left[i - 1] == right[j - 1]
        return min(
            distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (not same)
        )

    return distance(len(left), len(right))


@given(words, words)
def test_word_errors_are_the_edit_distance(expected: list[str], heard: list[str]) -> None:
    assert count_word_errors(expected, heard) == edit_distance(tuple(expected), tuple(heard))


@pytest.mark.parametrize(
    ("expected", "heard", "rate"),
    [
        ("one two", " one two", 0.0),
        ("one two", "one", 0.5),
        ("one", "one two three", 2.0),
        ("", "", 0.0),
        ("", "one", 1.0),
    ],
)
def test_word_error_rate(expected: str, heard: str, rate: float) -> None:
    assert word_error_rate(expected, heard) == rate


def test_percentile_is_the_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]
    assert percentile([3.0], 99) == 3.0
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
