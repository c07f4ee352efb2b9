"""The page's replay and tape do what the client's do: see docs/replay.md."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ
from client.rpc.tape import whole_frames
from tests.replay import Spoken, break_connections, odd_steps, play, rounded, speech
from tests.unit.gateway.web.conftest import Play
from tests.vectors import Vector, each_vector

# The process that plays keeps nothing between two examples.
shared_process = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@each_vector("replay")
def test_the_page_tells_what_the_vectors_say(play_js: Play, vector: Vector) -> None:
    assert rounded(play_js(replay=vector.steps)) == vector.expected


@each_vector("tape")
def test_the_page_keeps_what_the_vectors_say(play_js: Play, vector: Vector) -> None:
    assert play_js(tape=vector.steps) == vector.expected


@shared_process
@given(
    spoken=speech(),
    breaks=st.lists(st.integers(1, 40), max_size=6),
    moved_s=st.sampled_from([0.0, -0.16, -0.08, 0.08, 0.16]),
)
def test_page_and_client_tell_the_same_whatever_breaks(
    play_js: Play, spoken: list[Spoken], breaks: list[int], moved_s: float
) -> None:
    steps = break_connections(spoken, breaks, moved_s)
    told = rounded(play_js(replay=steps))

    assert told == play(steps)
    events = [event for events in told if isinstance(events, list) for event in events]
    texts = [event["text"] for event in events if event["type"] == "token"]
    assert "".join(texts) == "".join(f" {word.text}" for word in spoken)
    words = [event["text"] for event in events if event["type"] == "word"]
    assert words == [word.text for word in spoken]


@shared_process
@given(steps=odd_steps())
def test_page_and_client_tell_the_same_of_messages_that_make_no_sense(
    play_js: Play, steps: list[dict[str, Any]]
) -> None:
    assert rounded(play_js(replay=steps)) == play(steps)


@shared_process
@given(seconds=st.lists(st.floats(-10, 1e5), max_size=50), frame=st.integers(0, 10**7))
def test_page_and_client_agree_on_frame_borders(
    play_js: Play, seconds: list[float], frame: int
) -> None:
    seconds.append(frame * FRAME_SAMPLES / SAMPLE_RATE_HERTZ)
    borders = play_js(frames=seconds)

    assert borders == [whole_frames(moment, FRAME_SAMPLES) for moment in seconds]
    assert borders[-1] == frame * FRAME_SAMPLES


@shared_process
@given(
    lengths=st.lists(st.integers(0, 50), max_size=20),
    capacity=st.integers(1, 200),
    cut=st.integers(0, 500),
    limit=st.integers(1, 70),
)
def test_the_page_reads_nothing_behind_the_end_of_a_tape_that_was_cut(
    play_js: Play, lengths: list[int], capacity: int, cut: int, limit: int
) -> None:
    recorded = [{"record": length} for length in lengths]
    kept = play_js(tape=recorded, capacity=capacity)
    start, end = (kept[-1]["start"], kept[-1]["end"]) if kept else (0, 0)
    cut = max(start, min(cut, end))
    steps: list[dict[str, Any]] = [*recorded, {"cut": cut}, {"record": 7}]
    steps += [{"read": position, "limit": limit} for position in range(start, cut + 1)]
    _, after, *reads = play_js(tape=steps, capacity=capacity)[len(recorded) :]

    assert after["end"] == cut
    for position, answer in zip(range(start, cut + 1), reads, strict=True):
        samples = answer["read"]
        assert samples == list(range(position, position + len(samples)))
        assert position + len(samples) <= cut
        assert bool(samples) == (position < cut)
