"""Breaking connections for both replays: what is said, what a service makes of it, what is told.

A scenario is a list of steps, as in tests/vectors/replay.json (docs/replay.md describes them).
Messages are those of the WebSocket protocol with `timing=1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ
from client.rpc.events import (
    Final,
    Flushed,
    Pause,
    Ping,
    Ready,
    Reconnected,
    ServerEvent,
    Token,
    Word,
)
from client.rpc.replay import Transcript
from client.rpc.tape import whole_frames
from client.websocket_messages import decode_event

Json = dict[str, Any]

DELAY_S = 0.5
CONTEXT_S = 3.0
DURATION_S = 100.0
READY: Json = {
    "type": "ready",
    "session_id": "s",
    "delay": DELAY_S,
    "frame_samples": 1_920,
    "sample_rate": SAMPLE_RATE_HERTZ,
}
DIGITS_KEPT = 9


@dataclass(frozen=True)
class Spoken:
    """A word of the audio, with the pieces that the model writes for it."""

    pieces: tuple[str, ...]
    start_s: float
    end_s: float

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def session_messages(spoken: list[Spoken], base_s: float, moved_s: float = 0.0) -> list[Json]:
    """What a server says of the audio from `base_s` on, in its own clock.

    Boundaries are `moved_s` off, as after a restart without the earlier context. Pieces come a
    step each after the delay, a word half a second after its last piece.
    """
    messages: list[Json] = []
    for word in spoken:
        if word.start_s < base_s:
            continue
        start_s = word.start_s - base_s + moved_s
        end_s = word.end_s - base_s
        at_s = start_s + DELAY_S
        for number, piece in enumerate(word.pieces):
            at_s = start_s + DELAY_S + 0.08 * number
            text = f" {piece}" if number == 0 else piece
            messages.append({"type": "token", "text": text, "start": start_s, "processed": at_s})
        body = {"text": word.text, "start": start_s, "end": end_s, "confidence": 0.9}
        messages.append({"type": "word", **body, "processed": max(at_s, end_s) + 0.2})
    return sorted(messages, key=lambda message: message["processed"])


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


def break_connections(spoken: list[Spoken], breaks: list[int], moved_s: float) -> list[Json]:
    """Steps: connections that break after so many messages each, then one to the end.

    Where each begins is what the Python replay says; the position is in the steps.
    """
    transcript = Transcript()
    steps: list[Json] = []
    for number, length in enumerate([*breaks, None]):
        base = whole_frames(transcript.find_restart_s(CONTEXT_S), FRAME_SAMPLES)
        base_s = base / SAMPLE_RATE_HERTZ
        steps.append({"restart": CONTEXT_S})
        steps.append({"begin": base_s, "broken": number > 0})
        messages = session_messages(spoken, base_s, moved_s if number else 0.0)
        said = [READY, *messages][:length]
        if length is None:
            words = [message for message in messages if message["type"] == "word"]
            duration_s = DURATION_S - base_s
            said.append({"type": "final", "transcript": "", "words": words})
            said[-1]["audio_duration"] = duration_s
        steps += [{"message": message} for message in said]
        for step in steps[len(steps) - len(said) - 1 :]:
            play_step(transcript, step)
    return steps


def play(steps: list[Json]) -> list[Any]:
    """What the Python replay makes of each step: told messages, a position, or nothing."""
    transcript = Transcript()
    return [rounded(play_step(transcript, step)) for step in steps]


def play_step(transcript: Transcript, step: Json) -> Any:
    """One step, as play() returns it but for the rounding."""
    if "begin" in step:
        return transcript.begin(step["begin"], "cut" if step["broken"] else None)
    if "restart" in step:
        return whole_frames(transcript.find_restart_s(step["restart"]), FRAME_SAMPLES)
    event = decode_event(step["message"])
    assert event is not None
    return [describe(told) for told in transcript.accept(event)]


def describe(told: ServerEvent | Reconnected) -> Json:
    """An event as the vectors write it."""
    match told:
        case Ready():
            return {"type": "ready"}
        case Reconnected():
            return {"type": "reconnected", "from": told.replayed_from_s}
        case Token():
            return {"type": "token", "text": told.text, "start": told.start_s}
        case Word():
            times = {"start": told.start_s, "end": told.end_s}
            return {"type": "word", "text": told.text, **times, "confidence": told.confidence}
        case Pause():
            return {"type": "vad_end", "offset": told.offset_s}
        case Ping():
            return {"type": "ping"}
        case Flushed():
            return {"type": "flushed", "flush_id": told.flush_id}
        case Final():
            return {"type": "final", "audio_duration": told.audio_duration_s}


def rounded(value: Any) -> Any:
    """Numbers without the last digits, which JSON may write in more than one way."""
    match value:
        case float():
            return round(value, DIGITS_KEPT)
        case list():
            return [rounded(item) for item in value]
        case dict():
            return {key: rounded(item) for key, item in value.items()}
        case _:
            return value


TIMES_S = st.integers(0, 60).map(lambda steps: 0.08 * steps) | st.floats(0, 5)
TEXTS = st.sampled_from([" a", " an", "a", "n", " né", "é", " 👍", "🏽", " ", "", " b", "b"])


@st.composite
def odd_steps(draw: st.DrawFn) -> list[Json]:
    """Steps in any order, with messages that no service would send so."""
    timing = st.fixed_dictionaries({}, optional={"processed": TIMES_S})
    times = {"start": TIMES_S, "end": TIMES_S, "confidence": st.just(0.9)}
    word = {"text": TEXTS.map(str.strip), **times}
    bodies: dict[str, dict[str, st.SearchStrategy[Any]]] = {
        "ready": {key: st.just(value) for key, value in READY.items()},
        "token": {"text": TEXTS, "start": TIMES_S},
        "word": word,
        "vad_end": {"offset": TIMES_S},
        "ping": {},
        "flushed": {"flush_id": st.just("f")},
        "final": {
            "transcript": st.just(""),
            "words": st.lists(st.fixed_dictionaries(word), max_size=4),
            "audio_duration": TIMES_S,
        },
    }
    kinds = st.sampled_from([*bodies, "token", "token", "word", "begin", "restart"])
    steps: list[Json] = [{"begin": 0.0, "broken": False}]
    for kind in draw(st.lists(kinds, max_size=40)):
        if kind == "begin":
            steps.append({"begin": draw(TIMES_S), "broken": draw(st.booleans())})
        elif kind == "restart":
            steps.append({"restart": draw(st.sampled_from([0.0, 1.0, CONTEXT_S]))})
        else:
            body = draw(st.fixed_dictionaries(bodies[kind]))
            steps.append({"message": {"type": kind, **body, **draw(timing)}})
    return steps
