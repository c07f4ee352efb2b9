from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.rpc.errors import Idle, InvalidAudio, ServerFailed, ServerFull, ServerUnavailable
from gateway.closing import GATEWAY_RESTARTS, close_for_error
from gateway.protocols.codec import Handshake, Item, Message, Reply
from gateway.protocols.openai_realtime import OpenAiRealtimeCodec
from gateway.protocols.openai_settings import choose_pause_s
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

PREFIX = "conversation.item.input_audio_transcription."
AUDIO = b"\1\2\3\4"


def make_codec(detection: object = None, **headers: str) -> OpenAiRealtimeCodec:
    codec = OpenAiRealtimeCodec(Handshake("intent=transcription", headers, "c1"))
    codec.greet()
    codec.decode(update({"turn_detection": detection}))
    return codec


def update(audio_input: dict[str, Any], **session: Any) -> str:
    return event("session.update", session={"audio": {"input": audio_input}, **session})


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def append(data: bytes = AUDIO) -> str:
    return event("input_audio_buffer.append", audio=base64.b64encode(data).decode())


COMMIT = event("input_audio_buffer.commit")
CLEAR = event("input_audio_buffer.clear")


def read(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [json.loads(message) for message in messages]


def replies(items: Sequence[Item]) -> list[dict[str, Any]]:
    return [one for item in items if isinstance(item, Reply) for one in read(item.messages)]


def feed(codec: OpenAiRealtimeCodec, *responses: events.Response) -> list[dict[str, Any]]:
    return [one for response in responses for one in read(codec.encode_event(response))]


def types(found: Sequence[dict[str, Any]]) -> list[str]:
    return [one["type"].removeprefix(PREFIX).rpartition(".")[2] for one in found]


def one_word(text: str, start_s: float) -> tuple[events.Response, events.Response]:
    spoken = events.make_word(text, start_s, start_s + 0.2)
    return events.token(f" {text}", start_s), events.utterance(spoken, processed_s=start_s + 1)


class TestOpening:
    def test_the_server_speaks_first(self) -> None:
        codec = OpenAiRealtimeCodec(Handshake("intent=transcription&model=m", {}, "c1"))
        (created,) = replies(codec.greet())
        assert created["type"] == "session.created"
        assert created["session"]["type"] == "transcription"
        assert created["session"]["id"] == "sess_c1"
        assert created["session"]["audio"]["input"]["transcription"]["model"] == "m"

    def test_an_update_opens_the_call_and_is_confirmed(self) -> None:
        codec = OpenAiRealtimeCodec(Handshake())
        codec.greet()
        # As pipecat and LiveKit send it.
        text = update(
            {
                "format": {"type": "audio/pcm", "rate": 24_000},
                "transcription": {"model": "gpt-4o-mini-transcribe", "language": "en"},
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 600,
                    "silence_duration_ms": 350,
                },
                "noise_reduction": {"type": "near_field"},
            },
            type="transcription",
        )
        config, reply = codec.decode(text)
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert (config.encoding, config.sample_rate_hertz) == (stt_pb2.ENCODING_PCM_S16LE, 24_000)
        assert config.vad.pause_seconds == 0.5
        assert config.vad.threshold == 0.0
        (updated,) = replies([reply])
        assert updated["type"] == "session.updated"
        shown = updated["session"]["audio"]["input"]
        assert shown["format"] == {"type": "audio/pcm", "rate": 24_000}
        assert shown["transcription"] == {"model": "gpt-4o-mini-transcribe", "language": "en"}
        assert shown["turn_detection"] == {"type": "server_vad", "silence_duration_ms": 500}

    def test_audio_opens_the_call_where_nothing_was_said(self) -> None:
        codec = OpenAiRealtimeCodec(Handshake())
        config, audio = codec.decode(append())
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert config.encoding == stt_pb2.ENCODING_PCM_S16LE
        assert audio == AUDIO
        assert codec.decode(append()) == [AUDIO]

    def test_the_older_dialect(self) -> None:
        codec = OpenAiRealtimeCodec(Handshake("", {"openai-beta": "realtime=v1"}))
        assert replies(codec.greet())[0]["type"] == "transcription_session.created"
        config, reply = codec.decode(
            event(
                "transcription_session.update",
                session={
                    "input_audio_format": "g711_ulaw",
                    "input_audio_transcription": {"model": "whisper-1"},
                    "turn_detection": None,
                },
            )
        )
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert (config.encoding, config.sample_rate_hertz) == (stt_pb2.ENCODING_MULAW, 8_000)
        (updated,) = replies([reply])
        assert updated["type"] == "transcription_session.updated"
        assert updated["session"]["input_audio_format"] == "g711_ulaw"
        assert updated["session"]["turn_detection"] is None

    def test_alaw(self) -> None:
        codec = OpenAiRealtimeCodec(Handshake())
        config, _ = codec.decode(update({"format": {"type": "audio/pcma"}}))
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert (config.encoding, config.sample_rate_hertz) == (stt_pb2.ENCODING_ALAW, 8_000)
        assert codec.decode(append(b"\xd5\x55")) == [b"\xd5\x55"]

    def test_another_format_before_any_audio_opens_another_call(self) -> None:
        codec = make_codec()
        config, _ = codec.decode(update({"format": {"type": "audio/pcm", "rate": 16_000}}))
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert config.sample_rate_hertz == 16_000
        codec.decode(append())
        (error,) = replies(codec.decode(update({"format": {"type": "audio/pcmu"}})))
        assert "cannot change" in error["error"]["message"]
        assert codec.decode(append()) == [AUDIO]

    def test_other_pauses_change_in_the_session(self) -> None:
        codec = make_codec({"type": "server_vad", "silence_duration_ms": 1100})
        codec.decode(append())
        vad, reply = codec.decode(
            update({"turn_detection": {"type": "semantic_vad", "eagerness": "low"}})
        )
        assert vad == stt_pb2.VadSettings(pause_seconds=3)
        assert replies([reply])[0]["type"] == "session.updated"
        assert types(replies(codec.decode(update({})))) == ["updated"]

    def test_what_is_left_out_stays(self) -> None:
        codec = make_codec({"type": "semantic_vad"})
        codec.decode(update({"transcription": {"model": "a", "language": "fr"}}))
        (updated,) = replies(codec.decode(update({"transcription": {"model": "b"}})))
        shown = updated["session"]["audio"]["input"]
        assert shown["transcription"] == {"model": "b", "language": "fr"}
        assert shown["turn_detection"] == {"type": "semantic_vad"}

    @given(st.floats(0, 600_000))
    def test_a_silence_is_a_pause_that_every_model_finds(self, silence_ms: float) -> None:
        pause_s = choose_pause_s(silence_ms)
        assert pause_s in (0.5, 1.0, 2.0, 3.0)
        assert abs(pause_s - silence_ms / 1000) <= max(0.5, silence_ms / 1000 - 3)


class TestCommitting:
    """With `turn_detection: null`, as pipecat uses it."""

    def test_a_commit_flushes_and_completes(self) -> None:
        codec = make_codec()
        codec.decode(append())
        found = feed(codec, events.token(" zero", 0.2), events.token(" one", 0.6))
        assert [one["delta"] for one in found] == ["zero", " one"]
        reply, flush = codec.decode(COMMIT)
        (committed,) = replies([reply])
        assert committed["type"] == "input_audio_buffer.committed"
        assert committed["previous_item_id"] is None
        assert isinstance(flush, stt_pb2.Flush)
        words = (events.make_word("zero", 0.2, 0.5), events.make_word("one", 0.6, 0.9))
        (completed,) = feed(codec, events.utterance(*words), events.flushed(processed_s=1.25))
        assert completed["type"] == f"{PREFIX}completed"
        assert completed["transcript"] == "zero one"
        assert completed["usage"] == {"type": "duration", "seconds": 1.25}
        ids = {committed["item_id"], completed["item_id"], *(one["item_id"] for one in found)}
        assert len(ids) == 1

    def test_a_pause_ends_no_turn(self) -> None:
        codec = make_codec()
        said = feed(codec, *one_word("zero", 0.2), events.vad_end(1.0), *one_word("one", 2.0))
        assert types(said) == ["delta", "delta"]
        codec.decode(COMMIT)
        (completed,) = feed(codec, events.flushed())
        assert completed["transcript"] == "zero one"

    def test_there_is_one_completed_for_each_commit_an_empty_one_too(self) -> None:
        codec = make_codec()
        first, second = (replies(codec.decode(COMMIT))[0] for _ in range(2))
        assert second["previous_item_id"] == first["item_id"]
        said = feed(codec, *one_word("zero", 0.2), events.flushed(), events.flushed())
        assert types(said) == ["delta", "completed", "completed"]
        assert [one["item_id"] for one in said[1:]] == [first["item_id"], second["item_id"]]
        assert [one["transcript"] for one in said[1:]] == ["zero", ""]

    def test_what_is_said_after_a_commit_is_another_turn(self) -> None:
        codec = make_codec()
        codec.decode(COMMIT)
        (completed,) = feed(codec, events.flushed())
        (delta,) = feed(codec, *one_word("one", 2.0))
        assert delta["item_id"] != completed["item_id"]

    def test_cleared_audio_is_not_transcribed(self) -> None:
        codec = make_codec()
        feed(codec, events.token(" zero", 0.2))
        reply, flush = codec.decode(CLEAR)
        assert types(replies([reply])) == ["cleared"]
        assert isinstance(flush, stt_pb2.Flush)
        assert feed(codec, events.token(" more", 0.5), one_word("zero", 0.2)[1]) == []
        assert feed(codec, events.flushed()) == []
        codec.decode(COMMIT)
        said = feed(codec, *one_word("one", 2.0), events.flushed())
        assert types(said) == ["delta", "completed"]
        assert said[1]["transcript"] == "one"

    def test_words_that_nobody_committed_are_not_lost_at_the_end(self) -> None:
        codec = make_codec()
        feed(codec, *one_word("zero", 0.2))
        (completed,) = feed(codec, events.final())
        assert completed["transcript"] == "zero"
        assert feed(make_codec(), events.final()) == []


class TestDetection:
    """With `server_vad`, as LiveKit uses it."""

    def make(self) -> OpenAiRealtimeCodec:
        return make_codec({"type": "server_vad"})

    def test_a_turn_from_its_first_word_to_its_pause(self) -> None:
        codec = self.make()
        said = feed(
            codec,
            events.token(" zero", 0.2),
            events.token(" one", 0.6),
            events.vad_end(1.5),
            events.utterance(events.make_word("zero", 0.2, 0.5), events.make_word("one", 0.6, 0.9)),
        )
        assert types(said) == [
            "speech_started",
            "delta",
            "delta",
            "speech_stopped",
            "committed",
            "completed",
        ]
        assert said[0]["audio_start_ms"] == 200
        assert said[3]["audio_end_ms"] == 1500
        assert said[-1]["transcript"] == "zero one"
        assert len({one["item_id"] for one in said}) == 1

    def test_a_stall_ends_a_turn_without_a_pause(self) -> None:
        said = feed(self.make(), *one_word("zero", 0.2))
        stopped = ["speech_stopped", "committed", "completed"]
        assert types(said) == ["speech_started", "delta", *stopped]
        assert said[2]["audio_end_ms"] == 400

    def test_a_pause_after_its_turn_was_closed_says_nothing(self) -> None:
        codec = self.make()
        feed(codec, *one_word("zero", 0.2))
        assert feed(codec, events.vad_end(1.5)) == []

    def test_a_last_word_may_come_after_the_pause(self) -> None:
        codec = self.make()
        said = feed(codec, events.token(" a", 0.2), events.vad_end(1.0), events.token(" b", 0.7))
        assert types(said)[-2:] == ["speech_stopped", "delta"]
        done = feed(codec, events.utterance(events.make_word("a", 0.2), events.make_word("b", 0.7)))
        assert done[-1]["transcript"] == "a b"

    def test_a_word_of_the_next_turn_moves_there(self) -> None:
        codec = self.make()
        feed(codec, events.token(" zero", 0.2), events.vad_end(1.0), events.token(" one", 1.4))
        said = feed(codec, events.utterance(events.make_word("zero", 0.2, 0.5)))
        assert types(said) == ["committed", "completed", "speech_started", "delta"]
        assert said[1]["transcript"] == "zero"
        assert said[3]["delta"] == "one"
        assert said[2]["item_id"] == said[3]["item_id"] != said[1]["item_id"]

    def test_a_commit_in_a_turn_completes_it_once(self) -> None:
        codec = self.make()
        feed(codec, events.token(" zero", 0.2))
        codec.decode(COMMIT)
        said = feed(codec, one_word("zero", 0.2)[1], events.flushed(processed_s=1.0))
        assert types(said) == ["speech_stopped", "completed"]
        assert said[1]["transcript"] == "zero"

    def test_cleared_speech_is_over(self) -> None:
        codec = self.make()
        feed(codec, events.token(" zero", 0.2))
        codec.decode(CLEAR)
        assert types(feed(codec, one_word("zero", 0.2)[1], events.flushed())) == ["speech_stopped"]


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\0\1", "binary"),
        ("", "not JSON"),
        ("7", "not a JSON object"),
        (event("response.create"), 'no event "response.create"'),
        (event("input_audio_buffer.append"), "base64"),
        (event("input_audio_buffer.append", audio="AAA"), "base64"),
        (event("session.update", session=[]), "session is []"),
        (update({}, type="realtime"), 'session.type is "realtime"'),
        (update({"format": {"type": "audio/mp3"}}), "audio/pcm, audio/pcmu, audio/pcma"),
        (update({"format": {"type": "audio/pcm", "rate": 1}}), "format.rate"),
        (update({"transcription": {"model": []}}), "model"),
        (update({"transcription": {"model": "m" * 300}}), "model"),
        (update({"turn_detection": "server_vad"}), "turn_detection"),
        (update({"turn_detection": {"type": "x"}}), "turn_detection.type"),
        (update({"turn_detection": {"silence_duration_ms": "1"}}), "silence_duration_ms"),
        (update({"turn_detection": {"type": "semantic_vad", "eagerness": 1}}), "eagerness"),
        (event("transcription_session.update", session={"input_audio_format": "mp3"}), "pcm16"),
    ],
)
def test_a_mistake_is_answered_and_the_session_goes_on(message: Message, complaint: str) -> None:
    codec = OpenAiRealtimeCodec(Handshake())
    (error,) = replies(codec.decode(message))
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"
    assert complaint in error["error"]["message"]
    assert codec.decode(append())[-1] == AUDIO


def test_an_error_names_the_event_it_is_about() -> None:
    codec = OpenAiRealtimeCodec(Handshake())
    (error,) = replies(codec.decode(event("x", event_id="e-1")))
    assert error["error"]["event_id"] == "e-1"
    (error,) = replies(codec.decode(event("x", event_id="\ud800")))
    assert error["error"]["event_id"] is None


def test_every_event_has_an_id_of_its_own() -> None:
    codec = OpenAiRealtimeCodec(Handshake(connection="c1"))
    found = [
        *replies(codec.greet()),
        *replies(codec.decode(COMMIT)),
        *feed(codec, events.flushed()),
    ]
    assert [one["event_id"] for one in found] == [f"event_c1_{n}" for n in range(1, 4)]


@pytest.mark.parametrize(
    ("closing", "code"),
    [
        (close_for_error(ServerFull("full")), 1013),
        (close_for_error(ServerUnavailable("cold")), 1013),
        (GATEWAY_RESTARTS, 1012),
        (close_for_error(Idle("idle")), 1000),
    ],
)
def test_what_passes_is_no_error_since_no_client_comes_back_after_one(closing, code) -> None:
    farewell = OpenAiRealtimeCodec(Handshake()).encode_closing(closing)
    assert (farewell.messages, farewell.code) == ((), code)
    assert farewell.text


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidAudio("Too loud."), "invalid_request_error", 1007),
        (ServerFailed("It broke."), "server_error", 1011),
    ],
)
def test_what_does_not_pass_is_an_error(error: Exception, kind: str, code: int) -> None:
    farewell = OpenAiRealtimeCodec(Handshake()).encode_closing(close_for_error(error))
    (told,) = read(farewell.messages)
    assert (told["error"]["type"], told["error"]["message"]) == (kind, str(error))
    assert farewell.code == code
