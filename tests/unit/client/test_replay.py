"""Merging connections: whatever was heard before a break and after it, each word comes once."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from client.events import (
    Event,
    Final,
    Flushed,
    Pause,
    Ping,
    Ready,
    Reconnected,
    ServerEvent,
    Timing,
    Token,
    Word,
)
from client.replay import Transcript
from client.tape import whole_frames

DELAY_S = 0.5
CONTEXT_S = 3.0
READY = Ready("s", DELAY_S, 1_920, 24_000)


@dataclass(frozen=True)
class Spoken:
    """A word of the audio, with the pieces that the model writes for it."""

    pieces: tuple[str, ...]
    start_s: float
    end_s: float

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def session_events(spoken: list[Spoken], base_s: float, moved_s: float = 0.0) -> list[ServerEvent]:
    """What a server says of the audio from `base_s` on, in its own clock.

    Boundaries are `moved_s` off, as after a restart without the earlier context. Pieces come a
    step each after the delay, a word half a second after its last piece.
    """
    timed: list[tuple[float, ServerEvent]] = []
    for word in spoken:
        if word.start_s < base_s:
            continue
        start_s = word.start_s - base_s + moved_s
        end_s = word.end_s - base_s
        at_s = start_s + DELAY_S
        for number, piece in enumerate(word.pieces):
            at_s = start_s + DELAY_S + 0.08 * number
            timed.append((at_s, Token(f" {piece}" if number == 0 else piece, start_s)))
        timed.append((max(at_s, end_s) + 0.2, Word(word.text, start_s, end_s, 0.9)))
    timed.sort(key=lambda pair: pair[0])
    return [_with_timing(event, at_s) for at_s, event in timed]


def _with_timing(event: ServerEvent, at_s: float) -> ServerEvent:
    timing = Timing(processed_s=at_s)
    match event:
        case Token(text, start_s):
            return Token(text, start_s, timing)
        case Word(text, start_s, end_s, confidence):
            return Word(text, start_s, end_s, confidence, timing)
        case _:
            return event


@st.composite
def speech(draw: st.DrawFn) -> list[Spoken]:
    words: list[Spoken] = []
    now_s = draw(st.floats(0.2, 2.0))
    for _ in range(draw(st.integers(1, 25))):
        length_s = draw(st.floats(0.25, 0.7))
        pieces = draw(
            st.lists(st.sampled_from(["one", "two", "nine", "ty"]), min_size=1, max_size=3)
        )
        words.append(Spoken(tuple(pieces), now_s, now_s + length_s))
        now_s += length_s + draw(st.sampled_from([0.0, 0.1, 0.3, 1.5, 6.0]))
    return words


def play(
    spoken: list[Spoken], breaks: list[int], moved_s: float
) -> tuple[list[Event], Final, list[float]]:
    """Run connections that break after so many events each, then one to the end."""
    transcript = Transcript()
    told: list[Event] = []
    bases: list[float] = []
    for number, length in enumerate([*breaks, None]):
        base_s = whole_frames(transcript.find_restart_s(CONTEXT_S)) / 24_000
        bases.append(base_s)
        transcript.begin(base_s, "cut" if number else None)
        events = session_events(spoken, base_s, moved_s if number else 0.0)
        for event in [READY, *events][:length]:
            told += transcript.accept(event)
        if length is None:
            words = tuple(event for event in events if isinstance(event, Word))
            told += transcript.accept(Final("", words, 100.0 - base_s))
    final = told[-1]
    assert isinstance(final, Final)
    return told, final, bases


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
    told, final, bases = play(spoken, breaks, moved_s)

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
    events = session_events(spoken, 0.0)
    assume(after <= len(events))
    for event in [READY, *events[:after]]:
        transcript.accept(event)
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
    transcript.accept(READY)
    transcript.accept(Ping(Timing(processed_s=600.0)))

    assert transcript.find_restart_s(CONTEXT_S) == pytest.approx(600.0 - 0.5 - 0.5 - 3.0)


def test_the_rest_of_a_word_that_was_cut_in_the_middle_comes_after_the_break() -> None:
    spoken = [Spoken(("tran", "scri", "be"), 1.0, 1.6)]
    told, final, _ = play(spoken, [2], 0.08)

    assert [event.text for event in told if isinstance(event, Token)] == [" tran", "scri", "be"]
    assert [word.text for word in final.words] == ["transcribe"]


def test_another_reading_of_a_word_that_was_told_is_dropped() -> None:
    transcript = Transcript()
    transcript.begin(0.0, None)
    for event in [READY, *session_events([Spoken(("nine",), 5.0, 5.4)], 0.0)]:
        transcript.accept(event)
    base_s = transcript.find_restart_s(CONTEXT_S)
    transcript.begin(base_s, "cut")
    again = session_events([Spoken(("five",), 5.08, 5.4), Spoken(("one",), 6.0, 6.4)], base_s)
    told = [seen for event in [READY, *again] for seen in transcript.accept(event)]

    assert isinstance(told[0], Reconnected)
    assert told[0].reason == "cut"
    assert [event.text for event in told if isinstance(event, Token)] == [" one"]


def test_a_word_that_no_replay_brings_again_is_told_before_the_next_one() -> None:
    """Its piece was shown before the break; the next model does not hear it."""
    transcript = Transcript()
    transcript.begin(0.0, None)
    for event in [READY, session_events([Spoken(("nine",), 5.0, 5.4)], 0.0)[0]]:
        transcript.accept(event)
    base_s = transcript.find_restart_s(CONTEXT_S)
    transcript.begin(base_s, "cut")
    again = session_events([Spoken(("one",), 6.0, 6.4)], base_s)
    told = [seen for event in [READY, *again] for seen in transcript.accept(event)]
    [final] = transcript.accept(Final("", (), 10.0 - base_s))

    words = [event for event in told if isinstance(event, Word)]
    assert [(word.text, word.confidence) for word in words] == [("nine", 0.0), ("one", 0.9)]
    assert words[0].end_s == pytest.approx(6.0)
    assert isinstance(final, Final)
    assert list(final.words) == words


def test_pauses_before_the_break_are_not_told_again() -> None:
    transcript = Transcript()
    transcript.begin(0.0, None)
    transcript.accept(READY)
    assert transcript.accept(Pause(4.0, Timing(processed_s=4.0)))
    transcript.begin(1.0, "cut")

    assert transcript.accept(Pause(3.0, Timing(processed_s=3.0))) == []
    later = transcript.accept(Pause(5.0, Timing(processed_s=5.0)))
    assert later == [Pause(6.0)]


def test_times_are_in_the_clock_of_the_stream() -> None:
    transcript = Transcript()
    transcript.begin(2.4, "cut")
    [flushed] = transcript.accept(Flushed("a", Timing(processed_s=1.0)))

    assert flushed.timing.processed_s == pytest.approx(3.4)
