"""Choosing a microphone and measuring its level; no device is touched."""

import numpy as np
import pytest

from client.audio import AudioError
from client.microphone import SILENCE_DBFS, InputDevice, choose_device, measure_dbfs

DEVICES = [
    InputDevice(0, "Built-in Audio", 2, 44_100.0, False),
    InputDevice(3, "USB Headset", 1, 48_000.0, True),
    InputDevice(5, "USB Headset Pro", 1, 48_000.0, False),
]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [(None, 3), ("0", 0), ("5", 5), ("built", 0), ("headset pro", 5), ("usb headset", 3)],
)
def test_a_device_is_named_by_number_or_part_of_its_name(wanted: str | None, index: int) -> None:
    assert choose_device(DEVICES, wanted).index == index


def test_without_a_default_the_first_one_is_taken() -> None:
    assert choose_device([DEVICES[2], DEVICES[0]], None).index == 5


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ("2", "There is no recording device '2'"),
        ("camera", "There is no recording device 'camera'"),
        ("usb", "There is more than one recording device 'usb'"),
    ],
)
def test_a_wrong_choice_lists_what_there_is(wanted: str, complaint: str) -> None:
    with pytest.raises(AudioError, match=complaint) as caught:
        choose_device(DEVICES, wanted)
    assert "3 (USB Headset)" in str(caught.value)


def test_no_microphone_at_all() -> None:
    with pytest.raises(AudioError, match="No microphone was found"):
        choose_device([], None)


def test_levels_are_decibels_below_full_scale() -> None:
    assert measure_dbfs(np.ones(100, np.float32)) == pytest.approx(0.0)
    assert measure_dbfs(np.full((50, 2), 0.1, np.float32)) == pytest.approx(-20.0, abs=1e-4)
    assert measure_dbfs(np.zeros(10, np.float32)) == SILENCE_DBFS
    assert measure_dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
