import json
from urllib.parse import urlencode

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol import (
    DOCUMENTED_EVENTS,
    ENCODINGS,
    LONGEST_COMMAND,
    LONGEST_FLUSH_ID,
    OPTIONAL_EVENTS,
    End,
    ProtocolError,
    StreamOptions,
    encode_error,
    encode_event,
    encode_ping,
    encode_server_info,
    parse_command,
    parse_query,
    to_text,
)
from stt.v1 import stt_pb2

OLD_CLIENT = parse_query("")
EAGER_CLIENT = parse_query("events=word,flushed,final,ready&timing=1")


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


class TestQuery:
    def test_none_is_the_documented_protocol(self):
        config = stt_pb2.StreamingConfig(
            encoding=stt_pb2.ENCODING_PCM_F32LE,
            events=[stt_pb2.OPTIONAL_EVENT_VAD_END, stt_pb2.OPTIONAL_EVENT_PING],
        )
        assert StreamOptions(config) == OLD_CLIENT

    @given(
        events=st.sets(st.sampled_from(sorted(OPTIONAL_EVENTS | DOCUMENTED_EVENTS))),
        encoding=st.sampled_from(sorted(ENCODINGS)),
        sample_rate=st.integers(8_000, 192_000),
        idle_ms=st.integers(1, 600_000),
        stall_ms=st.integers(1, 600_000),
        threshold=st.integers(1, 999),
        pause_ms=st.integers(1, 60_000),
        timing=st.booleans(),
    )
    def test_what_is_asked_for_is_understood(
        self, events, encoding, sample_rate, idle_ms, stall_ms, threshold, pause_ms, timing
    ):
        query = urlencode(
            {
                "events": ",".join(events),
                "encoding": encoding,
                "sample_rate": sample_rate,
                "idle_timeout": f"{idle_ms / 1000:.3f}",
                "stall_timeout": f"{stall_ms / 1000:.3f}",
                "vad_threshold": threshold / 1000,
                "pause_seconds": f"{pause_ms / 1000:.3f}",
                "timing": int(timing),
            }
        )
        options = parse_query(query)
        assert options.events == events & OPTIONAL_EVENTS
        assert options.timing is timing
        config = options.config
        assert config.encoding == ENCODINGS[encoding]
        assert config.sample_rate_hertz == sample_rate
        assert config.idle_timeout.ToMilliseconds() == idle_ms
        assert config.stall_timeout.ToMilliseconds() == stall_ms
        assert config.vad.threshold == pytest.approx(threshold / 1000, rel=1e-6)
        assert config.vad.pause_seconds == pytest.approx(pause_ms / 1000, rel=1e-6)
        assert (stt_pb2.OPTIONAL_EVENT_WORD in config.events) == ("word" in events)

    def test_settings_that_are_not_given_are_not_set(self):
        config = parse_query("events=word").config
        assert not config.HasField("vad")
        assert not config.HasField("idle_timeout")
        assert not config.HasField("stall_timeout")
        assert config.sample_rate_hertz == 0

    @pytest.mark.parametrize(
        ("query", "complaint"),
        [
            ("sample_rat=16000", 'no parameter "sample_rat". Known are: events, encoding,'),
            ("encoding=mp3", 'no encoding "mp3". Known are: pcm_f32le, pcm_s16le, mulaw, ogg_opus'),
            ("encoding=", 'no encoding ""'),
            ("events=words", 'no optional event "words". Known are: final, flushed, ready, word'),
            ("sample_rate=7999", "from 8000 to 192000"),
            ("sample_rate=1e4", "from 8000 to 192000"),
            ("sample_rate=%D9%A1%D9%A6%D9%A0%D9%A0%D9%A0", "from 8000 to 192000"),
            ("sample_rate=-16000", "from 8000 to 192000"),
            ("sample_rate=16000&sample_rate=8000", "sample_rate is given 2 times"),
            ("idle_timeout=0", "idle_timeout"),
            ("idle_timeout=601", "at most 600"),
            ("idle_timeout=nan", "above 0"),
            ("stall_timeout=inf", "above 0"),
            ("stall_timeout=-1", "above 0"),
            ("vad_threshold=1", "below 1"),
            ("vad_threshold=0", "above 0"),
            ("pause_seconds=two", "pause_seconds"),
            ("timing=maybe", "timing"),
            ("&".join(f"a{n}=1" for n in range(100)), "not understood"),
        ],
    )
    def test_what_is_wrong_is_named(self, query: str, complaint: str):
        with pytest.raises(ProtocolError) as raised:
            parse_query(query)
        assert complaint in str(raised.value)

    @given(st.text(max_size=200))
    def test_anything_else_is_a_protocol_error(self, query: str):
        try:
            options = parse_query(query)
        except ProtocolError as error:
            assert len(str(error)) < 400
        else:
            assert isinstance(options, StreamOptions)

    @given(st.sampled_from(["sample_rate", "idle_timeout", "vad_threshold", "timing"]), st.text())
    def test_odd_values_are_protocol_errors(self, name: str, value: str):
        try:
            parse_query(urlencode({name: value}, errors="replace"))
        except ProtocolError as error:
            assert name in str(error)


class TestCommand:
    @given(st.text(max_size=LONGEST_FLUSH_ID))
    def test_flush_keeps_its_id(self, flush_id: str):
        command = parse_command(json.dumps({"type": "flush", "flush_id": flush_id}))
        assert command == stt_pb2.Flush(flush_id=flush_id)

    def test_flush_needs_no_id(self):
        assert parse_command('{"type":"flush"}') == stt_pb2.Flush()

    def test_end(self):
        assert parse_command('{"type": "end"}') == End()

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
            json.dumps({"type": "flush", "flush_id": "x" * (LONGEST_FLUSH_ID + 1)}),
            json.dumps({"type": "end", "pad": "x" * LONGEST_COMMAND}),
            "[" * LONGEST_COMMAND,
        ],
    )
    def test_what_is_not_understood_is_a_protocol_error(self, text: str):
        with pytest.raises(ProtocolError):
            parse_command(text)

    @given(
        st.text()
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ).map(json.dumps)
    )
    def test_anything_else_is_a_protocol_error(self, text: str):
        with pytest.raises(ProtocolError):
            parse_command(text)


class TestEvent:
    @pytest.mark.parametrize("kind", sorted(EVENTS))
    def test_an_old_client_sees_what_is_documented_and_no_more(self, kind: str):
        response, body = EVENTS[kind]
        seen = encode_event(response, OLD_CLIENT)
        assert seen == ({"type": kind, **body} if kind in DOCUMENTED_EVENTS else None)

    @pytest.mark.parametrize("kind", sorted(EVENTS))
    def test_who_asks_gets_that_and_no_more(self, kind: str):
        response, body = EVENTS[kind]
        assert encode_event(response, parse_query(f"events={kind}")) == {"type": kind, **body}

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
        line = to_text(message)
        assert "\n" not in line
        assert json.loads(line) == {"type": "token", "text": text}
        assert line.encode()

    def test_the_documented_examples_to_the_letter(self):
        assert to_text(encode_event(EVENTS["token"][0], OLD_CLIENT) or {}) == (
            '{"type": "token", "text": " Hello"}'
        )
        assert to_text(encode_ping()) == '{"type": "ping"}'
        assert to_text(encode_error("...")) == '{"type": "error", "message": "..."}'


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
