"""The figures of stt-latency: when a load counts as real time, what it costs, where it flushes."""

from __future__ import annotations

import numpy as np
import pytest

from client.latency.audio import find_quiet_moment_s
from client.latency.measure import LoadResult, Stats, StreamResult
from client.latency.report import GpuResult, find_most_streams
from client.rpc.errors import ServerFull


def load(streams: int, backlog_s: float = 0.0, error: Exception | None = None) -> LoadResult:
    good = StreamResult(0.1, [0.7, 0.8], 0.3, 0.2, [backlog_s] * 10, " one")
    return LoadResult(streams, [good] * streams + ([StreamResult(error=error)] if error else []))


def test_stats_are_percentiles() -> None:
    stats = Stats.of([float(value) for value in range(1, 11)])

    assert stats == Stats(10, 5.0, 9.0, 10.0, 10.0)
    assert Stats.of([]) is None


@pytest.mark.parametrize(
    ("candidate", "verdict"),
    [
        (load(1), True),
        (load(1, backlog_s=0.39), True),
        (load(1, backlog_s=0.41), False),
        (load(1, error=ServerFull("full")), False),
        (LoadResult(1, [StreamResult()]), False),
    ],
)
def test_real_time_means_no_error_and_no_backlog(candidate: LoadResult, verdict: bool) -> None:
    assert candidate.is_in_real_time is verdict


def test_the_most_streams_are_those_below_the_first_that_fails() -> None:
    loads = [load(1), load(2), load(4, backlog_s=1.0), load(8)]

    assert find_most_streams(loads) == 2
    assert find_most_streams([load(1, backlog_s=1.0)]) is None
    assert find_most_streams([]) is None


def test_a_price_needs_a_load_without_errors() -> None:
    assert GpuResult("L4", "app", 0.8, load(4)).price_per_stream_hour_usd == pytest.approx(0.2)
    full = load(4, error=ServerFull("full"))
    assert GpuResult("L4", "app", 0.8, full).price_per_stream_hour_usd is None
    assert GpuResult("B9000", "app", None, load(4)).price_per_stream_hour_usd is None
    assert GpuResult("L4", "app", 0.8, error="no").price_per_stream_hour_usd is None


def test_the_flush_is_in_the_quietest_gap_of_the_middle_third() -> None:
    rng = np.random.default_rng(7)
    pcm = rng.uniform(-0.5, 0.5, 24_000 * 9).astype(np.float32)
    # Silences at the ends do not count; of those in the middle, the quietest does.
    pcm[:24_000] = 0.0
    pcm[24_000 * 4 : int(24_000 * 4.5)] *= 0.1
    pcm[24_000 * 5 : int(24_000 * 5.5)] = 0.0

    assert 5.1 <= find_quiet_moment_s(pcm) <= 5.4


def test_short_audio_is_flushed_at_its_end() -> None:
    assert find_quiet_moment_s(np.ones(12_000, np.float32)) == 0.5
