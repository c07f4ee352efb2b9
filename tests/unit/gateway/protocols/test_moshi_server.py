from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack
import pytest

from client.rpc.errors import ServerFailed, ServerFull, ServerUnavailable
from gateway.closing import FINISHED, GATEWAY_RESTARTS, close_for_error
from gateway.protocols.codec import Handshake, Message, ProtocolError
from gateway.protocols.moshi_http import (
    encode_build_info,
    encode_failure,
    encode_modules_info,
    encode_transcript,
)
from gateway.protocols.moshi_server import MAX_PENDING_MARKERS, MoshiServerCodec
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

FRAME = msgpack.packb({"type": "Audio", "pcm": [0.0] * 1920}, use_single_float=True)


def make_codec() -> MoshiServerCodec:
    codec = MoshiServerCodec(Handshake())
    codec.greet()
    assert read(codec.encode_event(events.ready())) == [{"type": "Ready"}]
    return codec


def read(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [msgpack.unpackb(message) for message in messages]


def read_types(messages: Sequence[Message]) -> list[str]:
    return [message["type"] for message in read(messages)]


def marker(number: int) -> bytes:
    return msgpack.packb({"type": "Marker", "id": number})


def feed_step(codec: MoshiServerCodec, index: int, *others: events.Response) -> list[Message]:
    """A step's events, after the frame that it hears was sent."""
    assert codec.decode(FRAME) == [bytes(7680)]
    mid_word = any(other.HasField("token") for other in others)
    step = events.step(index, mid_word=mid_word)
    return [m for one in (step, *others) for m in codec.encode_event(one)]


def test_the_call_is_opened_before_anything_came() -> None:
    (config,) = MoshiServerCodec(Handshake("format=PcmMessagePack")).greet()
    assert isinstance(config, stt_pb2.StreamingConfig)
    assert config.encoding == stt_pb2.ENCODING_PCM_F32LE
    assert config.idle_timeout.seconds == 120
    assert stt_pb2.OPTIONAL_EVENT_STEP in config.events
    assert stt_pb2.OPTIONAL_EVENT_WORD in config.events


def test_a_step_says_how_much_audio_waits() -> None:
    codec = make_codec()
    for _ in range(3):
        codec.decode(FRAME)
    (step,) = read(codec.encode_event(events.step(0)))
    assert step == {
        "type": "Step",
        "step_idx": 0,
        "prs": pytest.approx([0.1] * 4, abs=1e-6),
        "buffered_pcm": 2 * 1920,
    }
    codec.encode_event(events.step(1))
    (last,) = read(codec.encode_event(events.step(2)))
    assert last["buffered_pcm"] == 0


def test_a_model_without_heads_has_no_step() -> None:
    codec = make_codec()
    assert codec.encode_event(events.step(0, ())) == []


def test_a_word_comes_before_the_step_that_shows_it_complete_and_its_end_later() -> None:
    codec = make_codec()
    assert read_types(feed_step(codec, 0, events.token(" Hel", 0.3))) == ["Step"]
    assert read_types(feed_step(codec, 1, events.token("lo", 0.3))) == ["Step"]
    messages = read(feed_step(codec, 2))
    assert messages[0] == {"type": "Word", "text": "Hello", "start_time": 0.3}
    assert messages[1]["type"] == "Step"
    ended = codec.encode_event(events.word("Hello", 0.3, 0.7))
    assert read(ended) == [{"type": "EndWord", "stop_time": 0.7}]


def test_51_markers_come_back_in_order_and_need_no_flush() -> None:
    codec = make_codec()
    back: list[int] = []
    at_step: list[int] = []
    for index in range(64):
        if index < 51:
            assert codec.decode(marker(-index)) == []
        found = [m for m in read(feed_step(codec, index)) if m["type"] == "Marker"]
        back += [m["id"] for m in found]
        at_step += [index] * len(found)
    assert back == [-n for n in range(51)]
    # A marker that came before frame n is due when n + 6.25 frames were heard.
    assert at_step == [n + 6 for n in range(51)]


def test_markers_may_repeat_and_come_after_the_step_they_are_due_at() -> None:
    codec = make_codec()
    for number in (7, 7, 0):
        codec.decode(marker(number))
    codec.decode(FRAME)
    messages = read(codec.encode_event(events.step(6)))
    assert [m["type"] for m in messages] == ["Step", "Marker", "Marker", "Marker"]
    assert [m["id"] for m in messages[1:]] == [7, 7, 0]


def test_a_marker_does_not_cut_a_word_in_two() -> None:
    codec = make_codec()
    codec.decode(marker(1))
    codec.encode_event(events.step(5, mid_word=True))
    codec.encode_event(events.token(" Hel", 0.0, 0.48))
    assert read_types(codec.encode_event(events.step(6, mid_word=True))) == ["Step"]
    codec.encode_event(events.token("lo", 0.0, 0.56))
    assert read_types(codec.encode_event(events.step(7))) == ["Word", "Step", "Marker"]


def test_when_audio_stalls_one_flush_brings_all_markers_back() -> None:
    codec = make_codec()
    assert codec.stalled() == []
    codec.decode(FRAME)
    codec.decode(marker(1))
    codec.decode(marker(2))
    (flush,) = codec.stalled()
    assert isinstance(flush, stt_pb2.Flush)
    assert codec.stalled() == []
    # This one came after the flush was asked for.
    codec.decode(marker(3))
    codec.encode_event(events.token(" a"))
    messages = read(codec.encode_event(events.flushed(flush.flush_id, 0.08)))
    assert [m["type"] for m in messages] == ["Word", "Marker", "Marker"]
    (second,) = codec.stalled()
    assert isinstance(second, stt_pb2.Flush)
    assert read(codec.encode_event(events.flushed(second.flush_id, 0.08))) == [
        {"type": "Marker", "id": 3}
    ]


def test_a_flush_that_comes_late_sends_no_marker_twice() -> None:
    codec = make_codec()
    codec.decode(marker(1))
    (flush,) = codec.stalled()
    assert isinstance(flush, stt_pb2.Flush)
    assert read_types(codec.encode_event(events.step(6))) == ["Step", "Marker"]
    codec.decode(marker(2))
    assert codec.encode_event(events.flushed(flush.flush_id, 0.56)) == []
    assert read(codec.encode_event(events.final(0.56))) == [{"type": "Marker", "id": 2}]


def test_a_model_without_heads_brings_markers_back_with_any_event() -> None:
    codec = make_codec()
    codec.decode(marker(1))
    assert codec.encode_event(events.ping(0.4)) == []
    assert read_types(codec.encode_event(events.ping(0.5))) == ["Marker"]


def test_markers_that_no_audio_follows_are_bounded() -> None:
    codec = make_codec()
    for _ in range(MAX_PENDING_MARKERS):
        codec.decode(marker(0))
    with pytest.raises(ProtocolError, match="markers"):
        codec.decode(marker(0))


def test_opus_opens_another_call_with_its_first_page() -> None:
    codec = make_codec()
    page = msgpack.packb({"type": "OggOpus", "data": list(b"OggS")})
    config, data = codec.decode(page)
    assert isinstance(config, stt_pb2.StreamingConfig)
    assert config.encoding == stt_pb2.ENCODING_OGG_OPUS
    assert data == b"OggS"
    # The client was told already.
    assert codec.encode_event(events.ready()) == []
    assert codec.decode(page) == [b"OggS"]
    with pytest.raises(ProtocolError):
        codec.decode(FRAME)


def test_a_marker_after_opus_is_as_late_as_the_service_says() -> None:
    codec = make_codec()
    codec.decode(msgpack.packb({"type": "OggOpus", "data": [1]}))
    codec.decode(marker(1))
    assert codec.encode_event(events.ping(1.0, lag_s=0.5)) == []
    assert codec.encode_event(events.ping(1.9)) == []
    assert read_types(codec.encode_event(events.ping(2.0))) == ["Marker"]


def test_text_is_not_looked_at() -> None:
    assert make_codec().decode('{"type":"end"}') == []


def test_a_full_service_is_told_in_moshi_servers_words() -> None:
    codec = MoshiServerCodec(Handshake())
    full = codec.encode_closing(close_for_error(ServerFull("all 8 slots are taken")))
    assert read(full.messages) == [{"type": "Error", "message": "no free channels"}]
    cold = codec.encode_closing(close_for_error(ServerUnavailable("It is loading.")))
    assert read(cold.messages) == [{"type": "Error", "message": "no free channels: It is loading."}]


def test_what_breaks_later_is_told_as_it_is() -> None:
    codec = make_codec()
    broken = codec.encode_closing(close_for_error(ServerFailed("It broke.")))
    assert read(broken.messages) == [{"type": "Error", "message": "It broke."}]
    restarting = codec.encode_closing(GATEWAY_RESTARTS)
    assert read(restarting.messages)[0]["message"].startswith("The gateway is restarting")
    assert codec.encode_closing(FINISHED).messages == ()


def test_http_answers() -> None:
    info = stt_pb2.GetServerInfoResponse(
        model_name="digits", version="0.2.0", slots_total=8, slots_free=3
    )
    assert encode_modules_info(info) == [
        {
            "type": "batched_asr",
            "path": "/api/asr-streaming",
            "lm": "digits",
            "audio_tokenizer": "digits",
            "used_slots": "5",
            "total_slots": "8",
        }
    ]
    assert encode_build_info(info)["git_describe"] == "0.2.0"
    assert all(isinstance(value, str) for value in encode_build_info(info).values())
    transcribed = stt_pb2.TranscribeResponse(words=[events.make_word("one", 0.2, 0.5)])
    assert encode_transcript(transcribed.words) == [
        {"type": "Word", "text": "one", "start_time": 0.2},
        {"type": "EndWord", "stop_time": 0.5},
    ]
    assert encode_failure("why") == [{"type": "Error", "message": "why"}]
