from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from client.rpc.errors import Idle, ServerDraining
from gateway.closing import close_for_bad_request, close_for_error
from gateway.protocols.codec import End, Handshake, ProtocolError
from gateway.protocols.documented import (
    MAX_CLOSE_TEXT_BYTES,
    MAX_COMMAND,
    MAX_FLUSH_ID,
    DocumentedCodec,
    cut_close_text,
    encode_server_info,
    omit_quotes,
)
from gateway.protocols.documented_query import DOCUMENTED_EVENTS, OPTIONAL_EVENTS
from gateway.protocols.messages import quote
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

EVERYTHING = f"events={','.join(sorted(OPTIONAL_EVENTS))}"
WORD = events.make_word("zero", 0.3, 0.8)
WORD_JSON = {"text": "zero", "start": 0.3, "end": 0.8, "confidence": 0.9}
FINAL = events.Response(
    final=stt_pb2.Final(transcript=" zero", words=[WORD], audio_duration=events.seconds(4.957))
)
EVENTS: dict[str, tuple[events.Response, dict[str, Any]]] = {
    "ready": (
        events.ready(),
        {
            "session_id": "s-1",
            "delay": 0.5,
            "frame_samples": 1920,
            "sample_rate": 24_000,
            "audio_encoding": "pcm_s16le",
            "audio_sample_rate": 24_000,
        },
    ),
    "token": (events.token(" Hello", 0.3), {"text": " Hello"}),
    "word": (events.Response(word=WORD), WORD_JSON),
    "vad_end": (events.vad_end(4.2), {}),
    "ping": (events.ping(), {}),
    "flushed": (events.flushed("f-1"), {"flush_id": "f-1"}),
    "step": (
        events.step(5, (0.25, 0.123456, 1.0, 0.0), mid_word=True),
        {"index": 5, "pause_probabilities": [0.25, 0.1235, 1.0, 0.0], "mid_word": True},
    ),
    "utterance": (
        events.utterance(WORD),
        {"text": "zero", "start": 0.3, "end": 0.8, "words": [WORD_JSON]},
    ),
    "final": (FINAL, {"transcript": " zero", "words": [WORD_JSON], "audio_duration": 4.957}),
}

each_kind = pytest.mark.parametrize("kind", sorted(EVENTS))


def make_codec(query: str = "") -> DocumentedCodec:
    codec = DocumentedCodec(Handshake(query))
    codec.greet()
    return codec


def read(codec: DocumentedCodec, response: events.Response) -> list[dict[str, Any]]:
    return [json.loads(message) for message in codec.encode_event(response)]


def test_the_query_opens_the_call() -> None:
    (config,) = DocumentedCodec(Handshake("encoding=mulaw&sample_rate=8000")).greet()
    assert isinstance(config, stt_pb2.StreamingConfig)
    assert (config.encoding, config.sample_rate_hertz) == (stt_pb2.ENCODING_MULAW, 8000)


def test_a_wrong_query_is_told_with_its_reason_to_who_asks_for_events() -> None:
    for query, fields in (
        ("x=1", {"type", "message"}),
        ("x=1&events=", {"type", "message", "reason"}),
    ):
        codec = DocumentedCodec(Handshake(query))
        with pytest.raises(ProtocolError) as raised:
            codec.greet()
        farewell = codec.encode_closing(close_for_bad_request(str(raised.value)))
        (error,) = farewell.messages
        assert set(json.loads(error)) == fields
        # For clients that send before they read: their libraries show the close only.
        assert farewell.code == 1008
        assert farewell.text.startswith('There is no parameter "…". Known are: events, encoding')
        assert str(raised.value).startswith('There is no parameter "x". Known are')


SECRET = "a-secret-of-mine"


@given(st.text(), st.text(max_size=300))
@example("x" * 300, "")
@example("\\" * 300, '"')
@example('"', "x" * 300)
def test_a_close_quotes_no_client(before: str, after: str) -> None:
    secret = f"{before}{SECRET}{after}"
    for value in (secret, {secret: secret}, [secret]):
        told = omit_quotes(f'A text message has the type {quote(value)}. It must be "end".')
        assert SECRET not in told
        assert told.startswith("A text message has the type ")
    assert omit_quotes(f'The type is {quote("x")}; "end" ends.') == 'The type is "…"; "end" ends.'


@given(st.text())
def test_a_close_holds_as_much_of_the_error_as_there_is_room_for(text: str) -> None:
    kept = cut_close_text(text)
    assert len(kept.encode()) <= MAX_CLOSE_TEXT_BYTES
    assert kept == text or (kept.endswith("…") and text.startswith(kept[:-1]))
    # Nothing is cut off that has room, but for a character of up to four bytes at the edge.
    assert kept == text or len(kept.encode()) > MAX_CLOSE_TEXT_BYTES - 4


@each_kind
def test_an_old_client_sees_what_is_documented_and_no_more(kind: str) -> None:
    response, body = EVENTS[kind]
    seen = [{"type": kind, **body}] if kind in DOCUMENTED_EVENTS else []
    assert read(make_codec(), response) == seen


@each_kind
def test_who_asks_gets_that_and_no_more(kind: str) -> None:
    response, body = EVENTS[kind]
    assert read(make_codec(f"events={kind}"), response) == [{"type": kind, **body}]


@each_kind
def test_timing_is_added_to_all(kind: str) -> None:
    response = events.Response()
    response.CopyFrom(EVENTS[kind][0])
    response.processed_offset.CopyFrom(events.seconds(1.25))
    response.lag.CopyFrom(events.seconds(0.08))
    response.step_time.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=500_000_000))
    timing = {"processed": 1.25, "lag": 0.08, "step_time": 1_700_000_000.5}
    own = {"token": {"start": 0.3}, "vad_end": {"offset": 4.2}}.get(kind, {})
    expected = {"type": kind, **EVENTS[kind][1], **own, **timing}
    assert read(make_codec(f"{EVERYTHING}&timing=1"), response) == [expected]


def test_ready_says_nothing_of_the_audio_where_the_service_does_not() -> None:
    response = events.ready()
    response.ready.ClearField("audio_encoding")
    (message,) = read(make_codec("events=ready"), response)
    assert "audio_encoding" not in message
    assert "audio_sample_rate" not in message


def test_a_container_has_its_own_rate() -> None:
    response = events.ready()
    response.ready.audio_encoding = stt_pb2.ENCODING_OGG_OPUS
    response.ready.audio_sample_rate_hertz = 0
    (message,) = read(make_codec("events=ready"), response)
    assert (message["audio_encoding"], message["audio_sample_rate"]) == ("ogg_opus", None)


def test_a_final_that_is_cut_says_so() -> None:
    response = events.Response()
    response.CopyFrom(FINAL)
    response.final.is_cut = True
    [message] = read(make_codec("events=final"), response)
    assert message == {"type": "final", **EVENTS["final"][1], "is_cut": True}


def test_server_info() -> None:
    info = stt_pb2.GetServerInfoResponse(
        model_name="digits",
        sample_rate_hertz=24000,
        frame_samples=1920,
        delay=events.seconds(0.5),
        has_semantic_vad=True,
        slots_total=8,
        slots_free=3,
        version="0.1.0",
        description="digits only",
    )
    assert encode_server_info(info) == {
        "model_name": "digits",
        "description": "digits only",
        "version": "0.1.0",
        "sample_rate": 24000,
        "frame_samples": 1920,
        "delay": 0.5,
        "has_semantic_vad": True,
        "slots_total": 8,
        "slots_free": 3,
    }


def test_an_event_of_a_newer_service_is_passed_over() -> None:
    assert read(make_codec(EVERYTHING), events.Response()) == []


@given(st.text())
def test_a_message_is_one_line_of_json(text: str) -> None:
    (line,) = make_codec().encode_event(events.token(text))
    assert isinstance(line, str)
    assert "\n" not in line
    assert json.loads(line) == {"type": "token", "text": text}
    assert line.encode()


def test_the_documented_examples_to_the_letter() -> None:
    codec = make_codec()
    assert codec.encode_event(EVENTS["token"][0]) == ['{"type": "token", "text": " Hello"}']
    assert codec.encode_ping() == ['{"type": "ping"}']
    draining = close_for_error(ServerDraining("..."))
    assert codec.encode_closing(draining).messages == ('{"type": "error", "message": "..."}',)
    named = '{"type": "error", "message": "...", "reason": "DRAINING"}'
    assert make_codec("events=").encode_closing(draining).messages == (named,)
    idle = codec.encode_closing(close_for_error(Idle("")))
    assert (idle.messages, idle.code, idle.text) == ((), 1000, "idle")


class TestCommand:
    @given(st.binary())
    def test_binary_is_audio(self, audio: bytes) -> None:
        assert make_codec().decode(audio) == [audio]

    @given(st.text(max_size=MAX_FLUSH_ID))
    def test_flush_keeps_its_id(self, flush_id: str) -> None:
        command = json.dumps({"type": "flush", "flush_id": flush_id})
        assert make_codec().decode(command) == [stt_pb2.Flush(flush_id=flush_id)]

    def test_flush_needs_no_id(self) -> None:
        assert make_codec().decode('{"type":"flush"}') == [stt_pb2.Flush()]

    def test_end(self) -> None:
        assert make_codec().decode('{"type": "end"}') == [End()]

    @pytest.mark.parametrize(
        ("fields", "settings"),
        [
            ({}, stt_pb2.VadSettings()),
            ({"threshold": None}, stt_pb2.VadSettings()),
            ({"threshold": 0.75}, stt_pb2.VadSettings(threshold=0.75)),
            ({"pause_seconds": 1}, stt_pb2.VadSettings(pause_seconds=1)),
            ({"pause_seconds": 60}, stt_pb2.VadSettings(pause_seconds=60)),
        ],
    )
    def test_vad(self, fields: dict[str, object], settings: stt_pb2.VadSettings) -> None:
        assert make_codec().decode(json.dumps({"type": "vad", **fields})) == [settings]

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "end",
            "[]",
            "null",
            "{}",
            '{"type":"stop"}',
            '{"type":["end"]}',
            '{"type":"flush","flush_id":7}',
            '{"type":"flush","flush_id":"\\ud800"}',
            '{"type":"vad","threshold":1}',
            '{"type":"vad","threshold":0}',
            '{"type":"vad","threshold":true}',
            '{"type":"vad","threshold":NaN}',
            '{"type":"vad","pause_seconds":61}',
            '{"type":"vad","pause_seconds":"2"}',
            json.dumps({"type": "flush", "flush_id": "x" * (MAX_FLUSH_ID + 1)}),
            json.dumps({"type": "end", "pad": "x" * MAX_COMMAND}),
            "[" * MAX_COMMAND,
        ],
    )
    def test_what_is_not_understood_is_a_protocol_error(self, text: str) -> None:
        with pytest.raises(ProtocolError):
            make_codec().decode(text)
