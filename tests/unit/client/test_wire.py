"""The wire messages of both protocols as typed events, and how each ends."""

from __future__ import annotations

import json
import re
from urllib.parse import urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client import grpc_connection, websocket_connection, websocket_messages
from client.options import Encoding, SessionOptions, VadSettings
from client.rpc.endpoint import Credentials
from client.rpc.errors import (
    CLASSES,
    Idle,
    InvalidAudio,
    InvalidRequest,
    MessageTooLarge,
    ServerDraining,
    ServerFailed,
    ServerUnavailable,
    SttError,
)
from client.rpc.events import Final, Flushed, Pause, Ping, Ready, Timing, Token, Word
from client.rpc.messages import decode_event
from client.rpc.reasons import Reason
from client.websocket_handshake import WebSocketAddress
from client.websocket_messages import ErrorMessage, decode_message
from gateway.closing import CloseCode, Closing, Outcome
from gateway.protocols.codec import Handshake
from gateway.protocols.documented import DocumentedCodec, encode_event
from gateway.protocols.documented_query import parse_query
from stt.v1 import stt_pb2


def response(**event: object) -> stt_pb2.StreamingTranscribeResponse:
    message = stt_pb2.StreamingTranscribeResponse(**event)
    message.processed_offset.FromMilliseconds(1_040)
    message.lag.FromMilliseconds(80)
    message.step_time.FromMilliseconds(1_700_000_000_250)
    return message


def word(text: str, start_ms: int, end_ms: int) -> stt_pb2.Word:
    message = stt_pb2.Word(text=text, confidence=0.75)
    message.start_offset.FromMilliseconds(start_ms)
    message.end_offset.FromMilliseconds(end_ms)
    return message


def ready() -> stt_pb2.Ready:
    message = stt_pb2.Ready(session_id="s1", frame_samples=1_920, sample_rate_hertz=24_000)
    message.delay.FromMilliseconds(500)
    return message


def token() -> stt_pb2.Token:
    message = stt_pb2.Token(text=" five")
    message.start_offset.FromMilliseconds(960)
    return message


def final() -> stt_pb2.Final:
    message = stt_pb2.Final(transcript=" five", words=[word("five", 960, 1_400)])
    message.audio_duration.FromMilliseconds(2_000)
    return message


def pause() -> stt_pb2.VadEnd:
    message = stt_pb2.VadEnd()
    message.offset.FromMilliseconds(2_500)
    return message


FIVE = Word("five", 0.96, 1.4, 0.75)
TIMING = Timing(processed_s=1.04, lag_s=0.08, step_time=1_700_000_000.25)
CASES = [
    (response(ready=ready()), Ready("s1", 0.5, 1_920, 24_000)),
    (response(token=token()), Token(" five", 0.96)),
    (response(word=word("five", 960, 1_400)), FIVE),
    (response(vad_end=pause()), Pause(2.5)),
    (response(ping=stt_pb2.Ping()), Ping()),
    (response(flushed=stt_pb2.Flushed(flush_id="f")), Flushed("f")),
    (response(final=final()), Final(" five", (FIVE,), 2.0)),
]


@pytest.mark.parametrize(("message", "event"), CASES, ids=lambda case: type(case).__name__)
def test_both_protocols_carry_the_same_events(
    message: stt_pb2.StreamingTranscribeResponse, event: object
) -> None:
    """Through the gateway's own codec, as the client asks it."""
    asked = parse_query(urlencode(websocket_messages.encode_query(SessionOptions())))
    text = encode_event(message, asked)
    assert text is not None

    over_grpc = decode_event(message)
    over_websocket = websocket_messages.decode_event(text)
    assert over_grpc == event
    assert over_websocket == event
    for timing in (over_grpc.timing, over_websocket.timing):
        assert timing.processed_s == pytest.approx(TIMING.processed_s)
        assert timing.lag_s == pytest.approx(TIMING.lag_s)
        assert timing.step_time == pytest.approx(TIMING.step_time, abs=1e-6)


def test_events_of_a_newer_server_are_passed_over() -> None:
    assert decode_event(stt_pb2.StreamingTranscribeResponse()) is None
    assert websocket_messages.decode_event({"type": "sparkle"}) is None


def test_both_protocols_ask_for_the_same() -> None:
    options = SessionOptions(
        encoding=Encoding.PCM_S16LE,
        vad=VadSettings(threshold=0.6, pause_s=1.0),
        idle_timeout_s=30.0,
        stall_timeout_s=2.5,
    )
    over_grpc = grpc_connection.encode_config(options)
    over_websocket = parse_query(urlencode(websocket_messages.encode_query(options))).config

    assert sorted(over_grpc.events) == sorted(over_websocket.events)
    assert over_grpc.encoding == over_websocket.encoding
    assert over_grpc.vad == over_websocket.vad
    assert over_grpc.idle_timeout == over_websocket.idle_timeout
    assert over_grpc.stall_timeout == over_websocket.stall_timeout


@pytest.mark.parametrize(
    ("code", "close_text", "wanted"),
    [
        (1000, "idle", Idle),
        (1000, "", ServerFailed),
        (1001, "", ServerUnavailable),
        (1002, "", ServerFailed),
        (1003, "", InvalidRequest),
        (1007, "", InvalidAudio),
        (1008, "", InvalidRequest),
        (1009, "", MessageTooLarge),
        (1011, "", ServerFailed),
        (1012, "", ServerDraining),
        (1013, "server full", ServerUnavailable),
        (1013, "service unavailable", ServerUnavailable),
        (None, "", ServerUnavailable),
    ],
)
def test_without_a_reason_the_close_code_decides(
    code: int | None, close_text: str, wanted: type[SttError]
) -> None:
    told = ErrorMessage("what the server said")
    error = websocket_connection.error_from_close(code, close_text, told)

    assert type(error) is wanted
    if code != 1000:
        assert "what the server said" in str(error)


@given(
    reason=st.sampled_from(Reason),
    code=st.sampled_from([None, 1007, 1008, 1009, 1011, 1012, 1013]),
    close_text=st.text(max_size=20),
    text=st.text(max_size=20),
)
def test_a_reason_decides_whatever_else_was_said(
    reason: Reason, code: int | None, close_text: str, text: str
) -> None:
    codec = DocumentedCodec(Handshake("events="))
    closing = Closing(Outcome.FAILED, CloseCode.INTERNAL, error=text, reason=reason)
    [message] = codec.encode_closing(closing).messages
    told = decode_message(message)
    assert told == ErrorMessage(text, reason)
    assert isinstance(told, ErrorMessage)
    error = websocket_connection.error_from_close(code, close_text, told)

    assert type(error) is CLASSES[reason]
    assert error.reason == reason


def test_a_reason_of_a_newer_gateway_is_told_and_the_close_code_decides() -> None:
    told = decode_message('{"type":"error","message":"Mars is in the way.","reason":"MARS"}')
    assert isinstance(told, ErrorMessage)
    error = websocket_connection.error_from_close(1013, "", told)

    assert type(error) is ServerUnavailable
    assert (error.reason, str(error)) == ("MARS", "Mars is in the way.")


@pytest.mark.parametrize("value", [None, 5, [], {}, True, "5", "NaN"])
@pytest.mark.parametrize(
    "message",
    [encode_event(case, parse_query("events=ready,word,flushed,final")) for case, _ in CASES],
)
def test_a_field_that_is_missing_or_no_such_thing_is_the_servers_fault(
    message: dict[str, object], value: object
) -> None:
    """Every field of every message, left out and replaced; whatever is read stays of its type."""
    assert isinstance(decode_message(json.dumps(message)), object)
    for name in message:
        without = {key: kept for key, kept in message.items() if key != name}
        for changed in (without, {**message, name: value}):
            try:
                event = decode_message(json.dumps(changed))
            except ServerFailed as error:
                assert "not understood" in str(error)
            else:
                assert isinstance(getattr(event, "text", ""), str)
                assert isinstance(getattr(event, "start_s", 0.0), float | int)


@given(message=st.one_of(st.text(max_size=20), st.binary(max_size=20), st.just("[" * 100_000)))
@example(message='{"type":"final","transcript":"","words":[],"audio_duration":1e999}')
@example(message='{"type":"final","transcript":"","words":5,"audio_duration":1}')
@example(message='{"type":"token","text":"a","start":NaN}')
@example(message='{"type":"error"}')
@example(message='{"type":"error","message":"a","reason":5}')
@example(message='[{"type":"token"}]')
@example(message=b"\xff\xfe\xff")
def test_garbage_is_the_servers_fault(message: str | bytes) -> None:
    with pytest.raises(ServerFailed, match="not understood"):
        decode_message(message)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8000", "ws://127.0.0.1:8000/v1/stream"),
        ("wss://example.modal.run/", "wss://example.modal.run/v1/stream"),
        ("ws://host:1/v1/stream", "ws://host:1/v1/stream"),
        ("WSS://Host/a b", "wss://host/a%20b"),
        ("ws://[::1]:8000", "ws://[::1]:8000/v1/stream"),
        ("wss://[::1]", "wss://[::1]/v1/stream"),
        ("wss://bücher.example", "wss://xn--bcher-kva.example/v1/stream"),
    ],
)
def test_websocket_addresses(url: str, expected: str) -> None:
    address = WebSocketAddress.parse(url, Credentials("wk-1", "ws-2"))

    assert address.url == expected
    assert address.headers == {"Modal-Key": "wk-1", "Modal-Secret": "ws-2"}


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        # As the ready line and README print the gateway's address.
        ("http://127.0.0.1:8000/", "it has the scheme 'http'; known are ws and wss"),
        ("127.0.0.1:8000", "it has no scheme"),
        ("localhost:8000", "it has no scheme"),
        ("localhost", "it has no scheme"),
        ("ws:///v1/stream", "it names no host"),
        ("ws://u:p@host", "it holds a user name"),
        ("ws://host/v1/stream?events=word", "something follows its path"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"is not understood: {re.escape(fault)}\\. Write it like"):
        WebSocketAddress.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "http://host",
            "host:8000",
            "ws://",
            "ws://host/?a=b",
            "ws://host/#a",
            "ws://u:p@host",
        ),
        *("ws://host:port", "ws://host:99999", "ws://[::1", "wss://a b", "wss://a..b"),
        f"wss://{'a' * 64}.modal.run",
    ],
)
def test_other_addresses_are_refused_with_an_example(url: str) -> None:
    with pytest.raises(ValueError, match="Write it like"):
        WebSocketAddress.parse(url)
