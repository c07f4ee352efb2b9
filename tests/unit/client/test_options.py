"""Invalid options are refused when they are made."""

import pytest

from client import SessionOptions, VadSettings

NO_DURATIONS = [0.0, -1.0, float("nan"), float("inf")]


@pytest.mark.parametrize("name", ["idle_timeout_s", "stall_timeout_s"])
@pytest.mark.parametrize("seconds", NO_DURATIONS)
def test_a_timeout_is_a_positive_number_of_seconds(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is"):
        SessionOptions(**{name: seconds})


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan"), float("inf")])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match="within"):
        VadSettings(threshold=threshold)


@pytest.mark.parametrize("seconds", NO_DURATIONS)
def test_a_pause_is_a_positive_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="pause_s is"):
        VadSettings(pause_s=seconds)


def test_what_is_left_to_the_server_is_none() -> None:
    options = SessionOptions()
    assert options.idle_timeout_s is options.stall_timeout_s is options.vad.threshold is None
