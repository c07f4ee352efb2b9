"""How far the engine is behind real time, by a clock that the test turns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.pulse import Activity, Pulse

FRAME_S = 0.08


class Bench:
    def __init__(self) -> None:
        self.now_s = 1000.0
        self.pulse = Pulse(lambda: self.now_s)
        self.pulse.frame_s = FRAME_S
        self.pulse.begin(Activity.STEPPING)

    def step(self, *durations_s: float) -> float:
        for duration_s in durations_s:
            self.now_s += duration_s
            self.pulse.end_step()
        return self.pulse.behind_s


def test_steps_that_take_no_longer_than_a_frame_leave_nobody_behind() -> None:
    assert Bench().step(*[0.079] * 1000) == 0.0


def test_steps_that_take_longer_add_up_and_shorter_ones_catch_up() -> None:
    bench = Bench()
    assert bench.step(*[0.1] * 25) == pytest.approx(0.5)
    assert bench.step(*[0.03] * 5) == pytest.approx(0.25)
    assert bench.step(*[0.03] * 6) == 0.0


def test_the_step_in_progress_counts_too() -> None:
    bench = Bench()
    bench.now_s += 3.0
    assert bench.pulse.behind_s == pytest.approx(3.0 - FRAME_S)


def test_at_rest_nobody_is_behind_however_long_it_lasts() -> None:
    bench = Bench()
    assert bench.step(5.0) > 4
    bench.pulse.begin(Activity.RESTING)
    bench.now_s += 3600.0
    assert bench.pulse.behind_s == 0.0
    bench.pulse.begin(Activity.STEPPING)
    assert bench.step(FRAME_S) == pytest.approx(0.0, abs=1e-9)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_it_is_as_far_behind_as_a_live_caller_waits_for_its_frame(durations_s) -> None:
    """A caller whose frames come every 80 ms, the first when the first step begins."""
    bench = Bench()
    began_s = bench.now_s
    lag_s = 0.0
    for number, duration_s in enumerate(durations_s):
        came_s = began_s + number * FRAME_S
        if came_s > bench.now_s:
            # Nothing to step: the engine rests until the frame comes.
            bench.pulse.begin(Activity.RESTING)
            bench.now_s = came_s
            bench.pulse.begin(Activity.STEPPING)
        bench.step(duration_s)
        lag_s = bench.now_s - came_s
    assert bench.pulse.behind_s == pytest.approx(max(0.0, lag_s - FRAME_S), abs=1e-6)
