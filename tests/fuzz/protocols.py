"""The other protocols of the gateway: a client's messages, cut out of any bytes."""

import json
from collections.abc import Callable, Iterator

import msgpack

from gateway.closing import close_for_bad_request
from gateway.protocols import gradium, moshi_server, openai_realtime
from gateway.protocols.codec import Codec, Door, End, Handshake, Item, Message, ProtocolError, Reply
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

SEPARATOR = b"\n\n"
"""Between two messages. In JSON it says nothing, and MessagePack rarely has it."""
MAX_REASON_BYTES = 123
# What the service says, whatever came before.
EVENTS = (
    events.ready(),
    events.step(0, mid_word=True),
    events.token(" a", 0.0, 0.08),
    events.step(1),
    events.word("a", 0.0, 0.1, 0.16),
    events.vad_end(0.16),
    events.utterance(events.make_word("a", 0.0, 0.1), processed_s=0.16),
    events.flushed("", 0.16),
    events.final(0.16),
)


def make_target(
    door: Door, check_config: Callable[[stt_pb2.StreamingConfig], object], is_text: bool
) -> Callable[[bytes], None]:
    """A function that talks to a codec of this protocol; `check_config` raises if the service would
    not take what the codec asks it for."""

    def talk(data: bytes) -> None:
        codec = door.make_codec(Handshake(connection="c"))
        try:
            check_items(codec.greet(), codec, check_config)
            for message in cut(data, is_text):
                check_items(codec.decode(message), codec, check_config)
            check_items(codec.stalled(), codec, check_config)
        except ProtocolError as error:
            farewell = codec.encode_closing(close_for_bad_request(str(error)))
            check_messages(farewell.messages)
            assert farewell.messages and len(farewell.text.encode()) <= MAX_REASON_BYTES
            return
        for response in EVENTS:
            check_messages(codec.encode_event(response))

    return talk


def cut(data: bytes, is_text: bool) -> Iterator[Message]:
    """Messages of a client; text is valid UTF-8, which the WebSocket sees to."""
    for part in data.split(SEPARATOR):
        yield part.decode(errors="replace") if is_text else part


def check_items(
    items: list[Item], codec: Codec, check_config: Callable[[stt_pb2.StreamingConfig], object]
) -> None:
    for item in items:
        match item:
            case bytes() | End():
                pass
            case Reply(messages):
                check_messages(messages)
            case stt_pb2.StreamingConfig():
                check_config(stt_pb2.StreamingConfig.FromString(item.SerializeToString()))
            case stt_pb2.Flush():
                check_messages(codec.encode_event(events.flushed(item.flush_id)))
            case _:
                item.SerializeToString()


def check_messages(messages: list[Message]) -> None:
    """They can be sent, and read by anybody."""
    for message in messages:
        if isinstance(message, str):
            message.encode()
            assert json.loads(message)["type"]
        else:
            assert msgpack.unpackb(message)["type"]


def pack(**fields: object) -> bytes:
    return msgpack.packb(fields, use_single_float=True)


def join(*messages: bytes) -> bytes:
    return SEPARATOR.join(messages)


DOORS = {
    "moshi": (moshi_server.DOOR, False),
    "gradium": (gradium.DOOR, True),
    "openai": (openai_realtime.DOOR, True),
}

SEEDS = {
    "moshi": [
        join(pack(type="Audio", pcm=[0.5] * 20), pack(type="Marker", id=-1), pack(type="Init")),
        join(pack(type="Audio", pcm=[0, 1, -1, 100]), pack(type="Audio", pcm=[1, 0.5])),
        join(pack(type="OggOpus", data=b"OggS"), pack(type="OggOpus", data=[79, 103])),
    ],
    "gradium": [
        join(
            b'{"type":"setup","input_format":"pcm_16000","model_name":"default"}',
            b'{"type":"audio","audio":"AAAAAA=="}',
            b'{"type":"flush","flush_id":1}',
            b'{"type":"end_of_stream"}',
        ),
        join(
            b'{"type":"setup","input_format":"wav","json_config":"{}"}',
            b'{"type":"audio","audio":"UklGRiwAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQgAAAA="}',
        ),
        b'{"type":"setup","input_format":"mulaw_8000"}',
    ],
    "openai": [
        join(
            b'{"type":"session.update","session":{"type":"transcription","audio":{"input":{'
            b'"format":{"type":"audio/pcm","rate":24000},"transcription":{"model":"m"},'
            b'"turn_detection":{"type":"server_vad","silence_duration_ms":500}}}}}',
            b'{"type":"input_audio_buffer.append","audio":"AAAAAA==","event_id":"e"}',
            b'{"type":"input_audio_buffer.commit"}',
            b'{"type":"input_audio_buffer.clear"}',
        ),
        b'{"type":"transcription_session.update","session":{"input_audio_format":"g711_ulaw",'
        b'"turn_detection":{"type":"semantic_vad","eagerness":"low"}}}',
        b'{"type":"session.update","session":{"audio":{"input":{"turn_detection":null}}}}',
    ],
}
