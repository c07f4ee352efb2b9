from dataclasses import replace

import pytest

from digits_training.errors import PlanError
from digits_training.training.plan import Schedule, TrainingPlan


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    schedule = Schedule(1_000, peak=2e-3, warmup_steps=100, cooldown_share=0.3)
    rates = [schedule.get_rate(step) for step in range(1_000)]
    assert rates[0] < 0.02 * schedule.peak
    assert set(rates[100:700]) == {schedule.peak}
    assert 0 < rates[-1] < 0.01 * schedule.peak


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ({"encoder": 0}, "one step at least"),
        ({"recognizer": 2}, "too few"),
        ({"all_words": 0, "noise": 0}, "one step at least"),
        ({"noise": -1}, "one step at least"),
    ],
)
def test_too_few_steps_are_refused(plan: TrainingPlan, steps: dict[str, int], message: str) -> None:
    changes = {name: replace(getattr(plan, name), steps=count) for name, count in steps.items()}
    with pytest.raises(PlanError, match=message):
        replace(plan, **changes)


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_who_cannot_share_a_batch_are_refused(plan: TrainingPlan, workers: int) -> None:
    with pytest.raises(PlanError, match=f"--workers {workers} does not divide"):
        replace(plan, workers=workers)
