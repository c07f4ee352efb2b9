"""When a model thread counts as hung, by a clock that the test turns."""

import pytest

from stt_service.config import EngineLimits
from stt_service.engine.pulse import Activity, Pulse
from stt_service.engine.watchdog import ModelHung, Watchdog

LIMITS = EngineLimits(loading_timeout_s=100, warm_up_timeout_s=50, step_timeout_s=10)


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.hung: list[BaseException] = []
        self.pulse = Pulse(lambda: self.now_s)
        self.watchdog = Watchdog(lambda: self.now_s, LIMITS, self.hung.append)

    def pass_time(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.watchdog.look(self.pulse.latest)
            self.now_s = min(self.now_s + 0.25, end_s)
        self.watchdog.look(self.pulse.latest)


@pytest.mark.parametrize(
    ("activity", "limit_s", "words"),
    [
        (Activity.LOADING, 100, "loading the model has taken more than 100 s"),
        (Activity.WARMING_UP, 50, "warming up has taken more than 50 s"),
        (Activity.STEPPING, 10, "no step has ended for 10 s while audio waited"),
    ],
)
def test_each_activity_has_its_limit_and_is_told_of_once(activity, limit_s, words) -> None:
    bench = Bench()
    bench.pulse.begin(activity)
    bench.pass_time(limit_s - 0.5)
    assert bench.hung == []
    bench.pass_time(2 * limit_s)
    [error] = bench.hung
    assert isinstance(error, ModelHung)
    assert str(error) == words


def test_a_thread_that_waits_for_audio_has_not_hung() -> None:
    bench = Bench()
    bench.pulse.begin(Activity.RESTING)
    bench.pass_time(10_000)
    bench.pulse.begin(Activity.STEPPING)
    bench.pass_time(9)
    assert bench.hung == []


def test_steps_that_are_slow_and_end_are_no_hang() -> None:
    bench = Bench()
    bench.pulse.begin(Activity.STEPPING)
    for _ in range(20):
        bench.pass_time(9)
        bench.pulse.end_step()
    assert bench.hung == []
