"""Codecs on the engine's own sessions: whatever the model writes, and whenever, no word is lost,
none comes twice, and every question is answered in order."""

from __future__ import annotations

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.codec import Handshake
from gateway.protocols.gradium import GradiumCodec
from gateway.protocols.moshi_server import MoshiServerCodec
from gateway.protocols.openai_realtime import OpenAiRealtimeCodec
from tests.unit.engine.models import A9, C3, END_OF_PADDING, HEL, LO, PADDING, SPACE, YOU
from tests.unit.gateway.protocols.scripted_service import (
    GRADIUM_FRAME,
    MOSHI_FRAME,
    OPENAI_FRAME,
    ScriptedService,
)

TRANSCRIPTION = "conversation.item.input_audio_transcription"
ASK, PAUSE, STALL = "ask", "pause", "stall"
HELLO_YOU = (END_OF_PADDING, HEL, LO, PADDING, END_OF_PADDING, YOU)

# What the model writes, and between that what the client does.
ids = st.sampled_from([PADDING, END_OF_PADDING, HEL, LO, YOU, SPACE, C3, A9])
scripts = st.lists(ids | st.sampled_from([ASK, ASK, PAUSE, STALL]), max_size=60)
models = st.tuples(st.sampled_from([0, 4]), st.sampled_from([0.0, 0.5, 2.5]))
tails = st.lists(ids, max_size=4)


def play(service: ScriptedService, script: list[int | str], question, tail: list[int]) -> int:
    """Run the script to the session's end; how often the client asked."""
    asked = 0
    for item in script:
        match item:
            case "ask":
                service.send(question(asked), tail)
                asked += 1
            case "pause":
                service.hear(PADDING, PADDING, pause=0.9)
            case "stall":
                service.stall(tail)
            case _:
                service.hear(int(item))
    service.stall(tail)
    service.finish()
    return asked


def make_moshi(heads: int = 4, delay_s: float = 0.5) -> ScriptedService:
    return ScriptedService(MoshiServerCodec(Handshake()), MOSHI_FRAME, heads, delay_s)


def make_gradium(heads: int = 4, delay_s: float = 0.5) -> ScriptedService:
    codec = GradiumCodec(Handshake())
    codec.decode('{"type":"setup","input_format":"pcm"}')
    return ScriptedService(codec, GRADIUM_FRAME, heads, delay_s)


def make_openai(detection: str, heads: int = 4, delay_s: float = 0.5) -> ScriptedService:
    codec = OpenAiRealtimeCodec(Handshake(connection="c"))
    session = f'{{"audio":{{"input":{{"turn_detection":{detection}}}}}}}'
    codec.decode(f'{{"type":"session.update","session":{session}}}')
    return ScriptedService(codec, OPENAI_FRAME, heads, delay_s)


@given(scripts, models, tails)
def test_moshi_server(script, model, tail) -> None:
    service = make_moshi(*model)
    asked = play(service, script, lambda n: msgpack.packb({"type": "Marker", "id": n % 3}), tail)
    assert [m["id"] for m in service.find("Marker")] == [n % 3 for n in range(asked)]
    assert [m["text"] for m in service.find("Word")] == [word.text for word in service.words]
    times = [m["start_time"] for m in service.find("Word")]
    assert times == pytest.approx([word.start_s for word in service.words], abs=1e-6)
    ends = [m["stop_time"] for m in service.find("EndWord")]
    assert ends == pytest.approx([word.end_s for word in service.words], abs=1e-6)
    spoken = [m["type"] for m in service.messages if m["type"] in ("Word", "EndWord")]
    assert spoken == ["Word", "EndWord"] * len(service.words)
    frames = sum(2 if item == PAUSE else item not in (ASK, STALL) for item in script)
    has_heads = model[0] > 0
    assert [m["step_idx"] for m in service.find("Step")] == list(range(frames * has_heads))


@given(scripts, models, tails)
def test_gradium(script, model, tail) -> None:
    service = make_gradium(*model)
    asked = play(service, script, lambda n: json.dumps({"type": "flush", "flush_id": n}), tail)
    assert [m["flush_id"] for m in service.find("flushed")] == list(range(asked))
    assert [m["text"] for m in service.find("text")] == [word.text for word in service.words]
    ends = [m["stop_s"] for m in service.find("end_text")]
    assert ends == pytest.approx([word.end_s for word in service.words], abs=1e-6)
    assert service.messages[-1] == {"type": "end_of_stream"}


@given(scripts, models, tails)
def test_openai_with_commits_only(script, model, tail) -> None:
    service = make_openai("null", *model)
    asked = play(service, script, lambda _: '{"type":"input_audio_buffer.commit"}', tail)
    completed = service.find(f"{TRANSCRIPTION}.completed")
    committed = [m["item_id"] for m in service.find("input_audio_buffer.committed")]
    assert [m["item_id"] for m in completed[:asked]] == committed
    # What nobody committed comes at the end.
    assert len(completed) - asked in (0, 1)
    assert join(completed) == [word.text for word in service.words]
    assert not service.find("input_audio_buffer.speech_started")


@given(scripts, models, tails)
def test_openai_with_turn_detection(script, model, tail) -> None:
    service = make_openai('{"type":"server_vad"}', *model)
    play(service, script, lambda _: '{"type":"input_audio_buffer.commit"}', tail)
    completed = service.find(f"{TRANSCRIPTION}.completed")
    assert join(completed) == [word.text for word in service.words]
    item_ids = [m["item_id"] for m in completed]
    assert len(set(item_ids)) == len(item_ids)
    assert [m["item_id"] for m in service.find("input_audio_buffer.committed")] == item_ids
    order = [m for m in service.messages if m["type"].startswith("input_audio_buffer.speech")]
    started, stopped = order[::2], order[1::2]
    assert all(m["type"].endswith("started") for m in started)
    assert [m["item_id"] for m in stopped] == [m["item_id"] for m in started[: len(stopped)]]


def join(completed: list[dict[str, str]]) -> list[str]:
    return " ".join(m["transcript"] for m in completed).split()


def test_a_words_text_comes_before_its_end_was_heard() -> None:
    service = make_moshi()
    service.hear(*HELLO_YOU, *[PADDING] * 2)
    assert [m["text"] for m in service.find("Word")] == ["hello", "you"]
    assert len(service.find("EndWord")) == 1


def test_a_letter_of_two_pieces_is_no_end_of_a_word() -> None:
    """Its first byte is a step that writes nothing, as the end of a word is."""
    service = make_moshi()
    service.hear(END_OF_PADDING, HEL, C3, A9, PADDING, PADDING)
    assert [m["text"] for m in service.find("Word")] == ["helé"]


def test_a_burst_of_zeros_brings_markers_back_without_a_flush() -> None:
    """As unmute flushes: 8 frames of silence at once, and no waiting."""
    service = make_moshi()
    service.hear(*HELLO_YOU)
    service.send(msgpack.packb({"type": "Marker", "id": 5}))
    service.hear(*[PADDING] * 8)
    assert [m["id"] for m in service.find("Marker")] == [5]
    kinds = [m["type"] for m in service.messages]
    assert max(i for i, kind in enumerate(kinds) if kind == "Word") < kinds.index("Marker")
