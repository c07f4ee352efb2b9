import json

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import (
    MAX_COMMAND,
    MAX_FLUSH_ID,
    End,
    decode_command,
    encode_error,
    encode_event,
    encode_message,
    encode_ping,
    encode_server_info,
)
from gateway.query import DOCUMENTED_EVENTS, ProtocolError, decode_query
from stt.v1 import stt_pb2

OLD_CLIENT = decode_query("")
EAGER_CLIENT = decode_query("events=word,flushed,final,ready&timing=1")


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(round(value * 1000))
    return duration


WORD = stt_pb2.Word(
    text="zero", start_offset=seconds(0.3), end_offset=seconds(0.8), confidence=0.987654
)
WORD_JSON = {"text": "zero", "start": 0.3, "end": 0.8, "confidence": 0.9877}
EVENTS = {
    "ready": (
        stt_pb2.StreamingTranscribeResponse(
            ready=stt_pb2.Ready(
                session_id="s-1", delay=seconds(0.5), frame_samples=1920, sample_rate_hertz=24000
            )
        ),
        {"session_id": "s-1", "delay": 0.5, "frame_samples": 1920, "sample_rate": 24000},
    ),
    "token": (
        stt_pb2.StreamingTranscribeResponse(
            token=stt_pb2.Token(text=" Hello", start_offset=seconds(0.3)),
            processed_offset=seconds(0.8),
        ),
        {"text": " Hello"},
    ),
    "word": (
        stt_pb2.StreamingTranscribeResponse(word=WORD),
        WORD_JSON,
    ),
    "vad_end": (
        stt_pb2.StreamingTranscribeResponse(vad_end=stt_pb2.VadEnd(offset=seconds(4.2))),
        {},
    ),
    "ping": (stt_pb2.StreamingTranscribeResponse(ping=stt_pb2.Ping()), {}),
    "flushed": (
        stt_pb2.StreamingTranscribeResponse(flushed=stt_pb2.Flushed(flush_id="f-1")),
        {"flush_id": "f-1"},
    ),
    "final": (
        stt_pb2.StreamingTranscribeResponse(
            final=stt_pb2.Final(transcript=" zero", words=[WORD], audio_duration=seconds(4.957))
        ),
        {"transcript": " zero", "words": [WORD_JSON], "audio_duration": 4.957},
    ),
}


class TestCommand:
    @given(st.text(max_size=MAX_FLUSH_ID))
    def test_flush_keeps_its_id(self, flush_id: str):
        command = decode_command(json.dumps({"type": "flush", "flush_id": flush_id}))
        assert command == stt_pb2.Flush(flush_id=flush_id)

    def test_flush_needs_no_id(self):
        assert decode_command('{"type":"flush"}') == stt_pb2.Flush()

    def test_end(self):
        assert decode_command('{"type": "end"}') == End()

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
            json.dumps({"type": "flush", "flush_id": "x" * (MAX_FLUSH_ID + 1)}),
            json.dumps({"type": "end", "pad": "x" * MAX_COMMAND}),
            "[" * MAX_COMMAND,
        ],
    )
    def test_what_is_not_understood_is_a_protocol_error(self, text: str):
        with pytest.raises(ProtocolError):
            decode_command(text)

    @given(
        st.text()
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps)
    )
    def test_anything_else_is_a_protocol_error(self, text: str):
        with pytest.raises(ProtocolError):
            decode_command(text)


class TestEvent:
    @pytest.mark.parametrize("kind", sorted(EVENTS))
    def test_an_old_client_sees_what_is_documented_and_no_more(self, kind: str):
        response, body = EVENTS[kind]
        seen = encode_event(response, OLD_CLIENT)
        assert seen == ({"type": kind, **body} if kind in DOCUMENTED_EVENTS else None)

    @pytest.mark.parametrize("kind", sorted(EVENTS))
    def test_who_asks_gets_that_and_no_more(self, kind: str):
        response, body = EVENTS[kind]
        assert encode_event(response, decode_query(f"events={kind}")) == {"type": kind, **body}

    @pytest.mark.parametrize("kind", sorted(EVENTS))
    def test_timing_is_added_to_all(self, kind: str):
        response = stt_pb2.StreamingTranscribeResponse()
        response.CopyFrom(EVENTS[kind][0])
        response.processed_offset.CopyFrom(seconds(1.25))
        response.lag.CopyFrom(seconds(0.08))
        response.step_time.CopyFrom(Timestamp(seconds=1_700_000_000, nanos=500_000_000))
        message = encode_event(response, EAGER_CLIENT)
        assert message is not None
        timing = {"processed": 1.25, "lag": 0.08, "step_time": 1_700_000_000.5}
        own = {"token": {"start": 0.3}, "vad_end": {"offset": 4.2}}.get(kind, {})
        assert message == {"type": kind, **EVENTS[kind][1], **own, **timing}

    def test_a_final_that_is_cut_says_so(self):
        response = stt_pb2.StreamingTranscribeResponse()
        response.CopyFrom(EVENTS["final"][0])
        response.final.is_cut = True
        message = encode_event(response, decode_query("events=final"))
        assert message == {"type": "final", **EVENTS["final"][1], "is_cut": True}

    def test_an_event_without_a_step_has_no_step_time(self):
        message = encode_event(EVENTS["ping"][0], EAGER_CLIENT)
        assert message == {"type": "ping", "processed": 0.0, "lag": 0.0}

    def test_an_event_of_a_newer_service_is_passed_over(self):
        assert encode_event(stt_pb2.StreamingTranscribeResponse(), EAGER_CLIENT) is None

    @given(st.text())
    def test_a_message_is_one_line_of_json(self, text: str):
        token = stt_pb2.StreamingTranscribeResponse(token=stt_pb2.Token(text=text))
        message = encode_event(token, OLD_CLIENT)
        assert message is not None
        line = encode_message(message)
        assert "\n" not in line
        assert json.loads(line) == {"type": "token", "text": text}
        assert line.encode()

    def test_the_documented_examples_to_the_letter(self):
        assert encode_message(encode_event(EVENTS["token"][0], OLD_CLIENT) or {}) == (
            '{"type": "token", "text": " Hello"}'
        )
        assert encode_message(encode_ping()) == '{"type": "ping"}'
        assert encode_message(encode_error("...")) == '{"type": "error", "message": "..."}'
        named = '{"type": "error", "message": "...", "reason": "DRAINING"}'
        assert encode_message(encode_error("...", "DRAINING")) == named


def test_server_info():
    info = stt_pb2.GetServerInfoResponse(
        model_name="digits",
        sample_rate_hertz=24000,
        frame_samples=1920,
        delay=seconds(0.5),
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
