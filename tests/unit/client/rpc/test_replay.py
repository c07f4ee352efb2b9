"""Merging connections: each word comes once, however the connection breaks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from client.options import SAMPLE_RATE_HERTZ
from client.rpc.events import Event, Final, Flushed, Ping, Ready, ServerEvent, Timing, Token, Word
from client.rpc.replay import Transcript
from client.websocket_messages import decode_event
from tests.replay import (
    CONTEXT_S,
    DELAY_S,
    READY,
    Spoken,
    break_connections,
    play,
    session_messages,
    speech,
)
from tests.vectors import Vector, each_vector


@each_vector("replay")
def test_the_client_tells_what_the_vectors_say(vector: Vector) -> None:
    assert play(vector.steps) == vector.expected


def event(message: dict[str, Any]) -> ServerEvent:
    decoded = decode_event(message)
    assert decoded is not None
    return decoded


def tell(steps: list[dict[str, Any]]) -> tuple[list[Event], list[float]]:
    """All events for the caller, and where the connections began."""
    transcript = Transcript()
    told: list[Event] = []
    bases: list[float] = []
    for step in steps:
        if "begin" in step:
            bases.append(step["begin"])
            transcript.begin(step["begin"], "cut" if step["broken"] else None)
        elif "message" in step:
            told += transcript.accept(event(step["message"]))
    return told, bases


@example(
    # The same word twice, so close that the moved first one is nearer to the second.
    spoken=[Spoken(("one",), 1.0, 1.25), Spoken(("one",), 1.25, 1.75)],
    breaks=[4],
    moved_s=0.16,
)
@given(
    spoken=speech(),
    breaks=st.lists(st.integers(1, 40), max_size=6),
    moved_s=st.sampled_from([0.0, -0.16, -0.08, 0.08, 0.16]),
)
def test_every_word_comes_once_whatever_breaks(
    spoken: list[Spoken], breaks: list[int], moved_s: float
) -> None:
    told, bases = tell(break_connections(spoken, breaks, moved_s))
    final = told[-1]
    assert isinstance(final, Final)

    expected = "".join(f" {word.text}" for word in spoken)
    assert "".join(event.text for event in told if isinstance(event, Token)) == expected
    assert final.transcript == expected
    assert [word.text for word in final.words] == [word.text for word in spoken]
    assert [event for event in told if isinstance(event, Word)] == list(final.words)
    for word, truth in zip(final.words, spoken, strict=True):
        assert word.start_s == pytest.approx(truth.start_s, abs=0.17)
        assert word.end_s == pytest.approx(truth.end_s, abs=1e-6)
    assert final.audio_duration_s == pytest.approx(100.0)
    assert bases == sorted(bases)
    assert sum(isinstance(event, Ready) for event in told) == 1


@given(spoken=speech(), after=st.integers(1, 60))
def test_a_replay_starts_context_before_what_is_not_settled_and_in_a_gap(
    spoken: list[Spoken], after: int
) -> None:
    transcript = Transcript()
    transcript.begin(0.0, None)
    messages = session_messages(spoken, 0.0)
    assume(after <= len(messages))
    for message in [READY, *messages[:after]]:
        transcript.accept(event(message))
    restart_s = transcript.find_restart_s(CONTEXT_S)

    pending = [w for w in spoken if w.start_s + DELAY_S > transcript.processed_s]
    if pending:
        assert restart_s <= max(0.0, pending[0].start_s - CONTEXT_S + 1e-9)
    heard_until_s = transcript.processed_s - DELAY_S
    for word in spoken:
        if word.end_s < heard_until_s:
            assert not word.start_s + 0.01 < restart_s < word.end_s - 0.01


def test_silence_moves_the_replay_on() -> None:
    transcript = Transcript()
    transcript.begin(0.0, None)
    transcript.accept(event(READY))
    transcript.accept(Ping(Timing(processed_s=600.0)))

    assert transcript.find_restart_s(CONTEXT_S) == pytest.approx(600.0 - 0.5 - 0.5 - 3.0)


@given(duration_s=st.floats(0.1, 1_000), frames=st.integers(0, 10_000))
def test_what_a_final_event_settled_is_not_heard_again(duration_s: float, frames: int) -> None:
    base_s = frames * 1_920 / SAMPLE_RATE_HERTZ
    transcript = Transcript()
    transcript.begin(base_s, None)
    for message in [READY, *session_messages([Spoken(("nine",), 0.2, 0.6)], 0.0)]:
        transcript.accept(event(message))
    transcript.accept(Final("", (), duration_s))

    assert transcript.find_restart_s(CONTEXT_S) == pytest.approx(base_s + duration_s)


def test_times_are_in_the_clock_of_the_stream() -> None:
    transcript = Transcript()
    transcript.begin(2.4, "cut")
    [flushed] = transcript.accept(Flushed("a", Timing(processed_s=1.0)))

    assert flushed.timing.processed_s == pytest.approx(3.4)
