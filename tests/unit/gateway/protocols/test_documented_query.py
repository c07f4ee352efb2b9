from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.codec import ProtocolError
from gateway.protocols.documented_query import (
    DOCUMENTED_EVENTS,
    ENCODINGS,
    OPTIONAL_EVENTS,
    StreamOptions,
    asks_for_events,
    parse_query,
)
from stt.v1 import stt_pb2


def test_none_is_the_documented_protocol():
    config = stt_pb2.StreamingConfig(
        encoding=stt_pb2.ENCODING_PCM_F32LE,
        events=[stt_pb2.OPTIONAL_EVENT_VAD_END, stt_pb2.OPTIONAL_EVENT_PING],
    )
    assert parse_query("") == StreamOptions(config)


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
    events, encoding, sample_rate, idle_ms, stall_ms, threshold, pause_ms, timing
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
    for name in ("word", "step", "utterance"):
        wanted = stt_pb2.OptionalEvent.Value(f"OPTIONAL_EVENT_{name.upper()}")
        assert (wanted in config.events) == (name in events)


def test_settings_that_are_not_given_are_not_set():
    config = parse_query("events=word").config
    assert not config.HasField("vad")
    assert not config.HasField("idle_timeout")
    assert not config.HasField("stall_timeout")
    assert config.sample_rate_hertz == 0


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("sample_rat=16000", 'no parameter "sample_rat". Known are: events, encoding,'),
        (
            "encoding=mp3",
            'no encoding "mp3". Known are: pcm_f32le, pcm_s16le, mulaw, ogg_opus, alaw',
        ),
        ("encoding=", 'no encoding ""'),
        (
            "events=words",
            'no optional event "words". Known are: final, flushed, ready, step, utterance,',
        ),
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
def test_what_is_wrong_is_named(query: str, complaint: str):
    with pytest.raises(ProtocolError) as raised:
        parse_query(query)
    assert complaint in str(raised.value)


@given(st.text(max_size=200))
def test_anything_else_is_a_protocol_error(query: str):
    try:
        options = parse_query(query)
    except ProtocolError as error:
        assert len(str(error)) < 400
    else:
        assert isinstance(options, StreamOptions)


@given(st.sampled_from(["sample_rate", "idle_timeout", "vad_threshold", "timing"]), st.text())
def test_odd_values_are_protocol_errors(name: str, value: str):
    try:
        parse_query(urlencode({name: value}, errors="replace"))
    except ProtocolError as error:
        assert name in str(error)


@pytest.mark.parametrize(
    ("query", "asks"),
    [
        ("", False),
        ("timing=1", False),
        ("encoding=events", False),
        ("events=word", True),
        ("speed=2&events=word,nonsense", True),
        ("events=", True),
    ],
)
def test_a_client_asks_for_events_even_in_a_query_that_is_refused(query: str, asks: bool):
    assert asks_for_events(query) is asks


@given(st.text(max_size=200))
def test_no_query_is_too_odd_to_be_looked_at(query: str):
    assert asks_for_events(query) in (True, False)
