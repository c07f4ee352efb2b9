"""What holds for every protocol, whatever its client sends."""

from __future__ import annotations

import base64
import json

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.rpc.errors import Idle, ServerFull, ServerUnavailable, SlowConsumer
from gateway.closing import (
    FINISHED,
    GATEWAY_RESTARTS,
    Closing,
    close_for_bad_request,
    close_for_error,
    close_for_gateway_fault,
    close_for_too_big,
)
from gateway.protocols import DOORS, find_door, name_paths
from gateway.protocols.codec import (
    Door,
    End,
    Handshake,
    KeyPlaces,
    Message,
    ProtocolError,
    Reply,
)
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

BINARY_DOOR = "moshi-server"

CLOSINGS = (
    FINISHED,
    GATEWAY_RESTARTS,
    close_for_gateway_fault(),
    close_for_bad_request("The client is wrong."),
    close_for_too_big(1),
    *map(close_for_error, (Idle("i"), ServerFull("f"), ServerUnavailable("u"), SlowConsumer("s"))),
)
EVENTS = (
    events.ready(),
    events.step(0),
    events.step(1, ()),
    events.token(" a"),
    events.word("a"),
    events.vad_end(),
    events.utterance(events.make_word("a")),
    events.ping(),
    events.flushed(),
    events.flushed("7"),
    events.final(),
    events.Response(),
)

each_door = pytest.mark.parametrize("door", DOORS, ids=[door.name for door in DOORS])

# Anything at all, and what is nearly right: known words at odd places.
words = st.sampled_from(
    [
        "type",
        "setup",
        "input_format",
        "audio",
        "pcm",
        "pcm_8000",
        "wav",
        "alaw_8000",
        "flush",
        "flush_id",
        "end",
        "end_of_stream",
        "vad",
        "threshold",
        "session.update",
        "transcription_session.update",
        "session",
        "input",
        "format",
        "rate",
        "turn_detection",
        "server_vad",
        "semantic_vad",
        "eagerness",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "Audio",
        "OggOpus",
        "data",
        "Marker",
        "Init",
        "id",
        base64.b64encode(b"RIFF\0\0\0\0WAVE").decode(),
        "\ud800",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | words
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
TYPED = [
    {"type": "setup", "input_format": "pcm"},
    {"type": "setup"},
    {"type": "audio", "audio": "AAAA"},
    {"type": "flush", "flush_id": 1},
    {"type": "session.update", "session": {}},
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
    {"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "Audio", "pcm": [0, 0.5]},
    {"type": "OggOpus", "data": [1, 200]},
    {"type": "Marker", "id": -3},
    {"type": "end"},
]


def pack(value: object) -> bytes:
    try:
        return msgpack.packb(value, unicode_errors="surrogatepass")
    except (OverflowError, ValueError):
        return b"\xc1"


objects = st.sampled_from(TYPED) | st.dictionaries(words, values, max_size=5)
messages = (
    st.binary(max_size=64)
    | st.text(max_size=64).map(lambda text: text.encode(errors="replace").decode())
    | (objects | values).map(json.dumps)
    | (objects | values).map(pack)
)


@each_door
# Each example is a whole conversation, which takes long to think of.
@settings(max_examples=40)
@given(st.data())
def test_any_messages_have_a_documented_answer(door: Door, data: st.DataObject) -> None:
    codec = door.make_codec(Handshake(connection="c"))
    opened: list[stt_pb2.StreamingConfig] = []
    has_audio = False
    try:
        items = [*codec.greet()]
        for _ in range(data.draw(st.integers(0, 8))):
            items += codec.decode(data.draw(messages))
            items += codec.stalled()
            items += map(Reply, [tuple(codec.encode_event(data.draw(st.sampled_from(EVENTS))))])
    except ProtocolError as error:
        farewell = codec.encode_closing(close_for_bad_request(str(error)))
        items = [Reply(farewell.messages)]
        assert farewell.messages
        assert farewell.code == 1008
        assert len(str(error)) < 400
        opened.append(stt_pb2.StreamingConfig())
    for item in items:
        match item:
            case stt_pb2.StreamingConfig():
                # No audio was written that the next call would not have.
                assert not has_audio
                opened.append(item)
            case Reply(replies):
                for reply in replies:
                    check_message(door, reply)
            case bytes():
                assert opened
                has_audio = True
            case _:
                assert isinstance(item, End | stt_pb2.Flush | stt_pb2.VadSettings)
                assert opened


@each_door
@pytest.mark.parametrize("closing", CLOSINGS, ids=lambda closing: closing.outcome)
def test_every_end_can_be_told(door: Door, closing: Closing) -> None:
    farewell = door.make_codec(Handshake()).encode_closing(closing)
    assert len(farewell.text.encode()) <= 123
    assert farewell.messages or closing.error is None or door.name == "openai-realtime"
    for message in farewell.messages:
        check_message(door, message)


@each_door
def test_a_call_is_opened_at_once_or_a_first_message_is_awaited(door: Door) -> None:
    items = door.make_codec(Handshake()).greet()
    opens = any(isinstance(item, stt_pb2.StreamingConfig) for item in items)
    assert opens is (door.first_message_s is None)


@each_door
def test_a_handshake_never_fails_before_it_can_be_answered(door: Door) -> None:
    codec = door.make_codec(Handshake("&".join(f"a{n}=%ff" for n in range(99)), {"cookie": "\xff"}))
    assert codec.encode_closing(FINISHED).code == 1000


def check_message(door: Door, message: Message) -> None:
    """A text frame is fatal to some clients of moshi-server, a binary one to the others'."""
    if door.name == BINARY_DOOR:
        assert isinstance(message, bytes)
        assert isinstance(msgpack.unpackb(message)["type"], str)
    else:
        assert isinstance(message, str)
        assert "\n" not in message
        message.encode()
        assert isinstance(json.loads(message, parse_constant=pytest.fail)["type"], str)


def test_a_path_leads_to_one_protocol() -> None:
    paths = [path for door in DOORS for path in door.paths]
    assert len(set(paths)) == len(paths)
    for door in DOORS:
        for path in door.paths:
            assert find_door(path) is door
            assert find_door(f"{path}/") is door
    assert find_door("/v1/streams") is None
    assert name_paths() == ("/v1/stream, /api/asr-streaming, /api/speech/asr and /v1/realtime")


@pytest.mark.parametrize(
    ("path", "handshake", "token"),
    [
        ("/v1/stream", Handshake("auth_id=a", {"x-api-key": "b"}), None),
        ("/api/asr-streaming", Handshake("auth_id=a&auth_id=b"), "a"),
        ("/api/asr-streaming", Handshake("auth_id=a", {"kyutai-api-key": "b"}), "b"),
        ("/api/asr-streaming", Handshake("auth_id=a", {"kyutai-api-key": ""}), ""),
        ("/api/asr-streaming", Handshake("format=PcmMessagePack"), None),
        ("/api/speech/asr", Handshake("", {"x-api-key": "b"}), "b"),
        (
            "/v1/realtime",
            Handshake(
                "", {"sec-websocket-protocol": "realtime, openai-insecure-api-key.k,openai-beta"}
            ),
            "k",
        ),
        ("/v1/realtime", Handshake("", {"sec-websocket-protocol": "realtime"}), None),
    ],
)
def test_a_key_is_found_where_its_protocol_puts_it(
    path: str, handshake: Handshake, token: str | None
) -> None:
    door = find_door(path)
    assert door is not None
    assert door.key_places.find_token(handshake) == token


def test_no_place_is_no_key() -> None:
    assert KeyPlaces().find_token(Handshake("auth_id=a", {"x-api-key": "b"})) is None


def test_a_subprotocol_is_answered_only_where_it_is_spoken() -> None:
    door = find_door("/v1/realtime")
    assert door is not None
    offered = Handshake("", {"sec-websocket-protocol": "openai-insecure-api-key.k, realtime"})
    assert door.choose_subprotocol(offered) == "realtime"
    assert door.choose_subprotocol(Handshake()) is None
