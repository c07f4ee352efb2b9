"""The tape: what is kept, what is forgotten, and where the flushes are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ
from client.rpc.tape import Tape, whole_frames
from tests.vectors import Vector, each_vector

NOTHING = np.zeros(0, np.float32)


def ramp(start: int, length: int) -> np.ndarray:
    return np.arange(start, start + length, dtype=np.float32)


def read_all(tape: Tape, position: int, limit: int) -> list[float]:
    heard: list[float] = []
    while len(pcm := tape.read(position, limit)):
        assert len(pcm) <= limit
        heard += pcm.tolist()
        position += len(pcm)
    return heard


@each_vector("tape")
def test_the_client_keeps_what_the_vectors_say(vector: Vector) -> None:
    tape = Tape(NOTHING)
    for step, expected in zip(vector.steps, vector.expected, strict=True):
        if "read" in step and expected["read"] == "gone":
            with pytest.raises(ValueError, match="was forgotten"):
                tape.read(step["read"], step["limit"])
        elif "read" in step:
            assert tape.read(step["read"], step["limit"]).tolist() == expected["read"]
        elif "record" in step:
            tape.record(ramp(tape.end, step["record"]))
        else:
            tape.forget_before(step["forget"])
        if "read" not in step:
            assert {"start": tape.start, "end": tape.end} == expected


@given(
    lengths=st.lists(st.integers(0, 50), max_size=20),
    forget=st.integers(0, 1_000),
    limit=st.integers(1, 70),
)
def test_everything_from_the_forgotten_position_on_can_be_read(
    lengths: list[int], forget: int, limit: int
) -> None:
    tape = Tape(NOTHING)
    for length in lengths:
        tape.record(ramp(tape.end, length))
    total = sum(lengths)
    position = min(forget, total)
    tape.forget_before(position)

    assert tape.end == total
    assert tape.start <= position
    assert read_all(tape, position, limit) == ramp(position, total - position).tolist()
    # Only the block that holds the position is kept besides what follows.
    assert total - tape.start <= total - position + max([*lengths, 0])


def test_reading_what_was_forgotten_is_a_fault() -> None:
    tape = Tape(NOTHING)
    tape.record(ramp(0, 10))
    tape.record(ramp(10, 10))
    tape.forget_before(10)
    with pytest.raises(ValueError, match="was forgotten"):
        tape.read(5, 1)


def test_flushes_are_kept_in_order_until_they_are_confirmed() -> None:
    tape = Tape(NOTHING)
    tape.mark_flush("a")
    tape.record(ramp(0, 10))
    tape.mark_flush("b")
    tape.mark_flush("a")

    assert [(n, m.flush_id, m.position) for n, m in tape.marks_from(0)] == [
        (0, "a", 0),
        (1, "b", 10),
        (2, "a", 10),
    ]
    assert tape.confirm_flush("a")
    assert [n for n, _ in tape.marks_from(0)] == [1, 2]
    assert not tape.confirm_flush("never asked")


def test_encoded_audio_is_kept_like_samples() -> None:
    tape = Tape(b"")
    tape.record(b"abcd")
    tape.record(b"efgh")
    tape.forget_before(5)

    assert (tape.start, tape.end) == (4, 8)
    assert tape.read(5, 2) == b"fg"
    assert tape.read(8, 2) == b""


@given(frame=st.integers(0, 10**7))
def test_a_time_on_a_frame_border_stays_there(frame: int) -> None:
    """Floats represent some borders as a little less: 29 frames as 28.999999999999996."""
    assert (
        whole_frames(frame * FRAME_SAMPLES / SAMPLE_RATE_HERTZ, FRAME_SAMPLES)
        == frame * FRAME_SAMPLES
    )


def test_replays_start_on_frame_borders() -> None:
    assert whole_frames(-1.0, FRAME_SAMPLES) == 0
    assert whole_frames(0.079, FRAME_SAMPLES) == 0
    assert whole_frames(0.3, FRAME_SAMPLES) == 3 * FRAME_SAMPLES
