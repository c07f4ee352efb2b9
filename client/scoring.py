"""Word error rate and percentiles."""

from __future__ import annotations

from collections.abc import Sequence


def count_word_errors(expected: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to replace, insert and delete to make one from the other."""
    row = list(range(len(heard) + 1))
    for i, wanted in enumerate(expected, start=1):
        diagonal, row[0] = row[0], i
        for j, got in enumerate(heard, start=1):
            diagonal, row[j] = (
                row[j],
                min(row[j] + 1, row[j - 1] + 1, diagonal + (wanted != got)),
            )
    return row[-1]


def word_error_rate(expected: str, heard: str) -> float:
    """Errors per expected word; 0.0 is perfect, and more than 1.0 is possible."""
    wanted, got = expected.split(), heard.split()
    if not wanted:
        return float(len(got) > 0)
    return count_word_errors(wanted, got) / len(wanted)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]
