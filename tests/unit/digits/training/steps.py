"""Taking the steps of a run by hand."""

from typing import Any

from stt_service.digits.training.runs import Run


def take_steps(run: Run) -> dict[str, Any]:
    """All that are left; returns the state after them."""
    for _ in run.go_on():
        pass
    return run.get_state()


def go_until(run: Run, step: int) -> None:
    """Stop after so many steps."""
    steps = iter(run.go_on())
    while run.step < step:
        next(steps)
