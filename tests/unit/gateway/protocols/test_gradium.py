from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from client.rpc.errors import Idle, InvalidAudio, ServerFull
from gateway.closing import close_for_bad_request, close_for_error
from gateway.protocols.codec import End, Handshake, Item, Message, ProtocolError
from gateway.protocols.gradium import GradiumCodec
from stt.v1 import stt_pb2
from tests.unit.gateway.protocols import events

SAMPLES = (np.sin(np.arange(4800) / 7) * 0.8).astype(np.float32)


def make_codec(input_format: str | None = "pcm") -> GradiumCodec:
    codec = GradiumCodec(Handshake())
    assert codec.greet() == []
    codec.decode(setup(input_format))
    return codec


def setup(input_format: str | None = "pcm", **more: object) -> str:
    formats = {} if input_format is None else {"input_format": input_format}
    return json.dumps({"type": "setup", "model_name": "default", **formats, **more})


def audio(data: bytes) -> str:
    return json.dumps({"type": "audio", "audio": base64.b64encode(data).decode()})


def read(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [json.loads(message) for message in messages]


def make_wav(subtype: str = "PCM_16", rate: int = 16_000, channels: int = 1) -> bytes:
    file = io.BytesIO()
    samples = np.repeat(SAMPLES[:, None], channels, axis=1)
    soundfile.write(file, samples, rate, subtype, format="WAV")
    return file.getvalue()


def feed_wav(codec: GradiumCodec, wav: bytes, piece: int) -> tuple[Item | None, bytes]:
    """The config that the header asks for, and the samples."""
    items = [
        item
        for start in range(0, len(wav), piece)
        for item in codec.decode(audio(wav[start : start + piece]))
    ]
    configs = [item for item in items if isinstance(item, stt_pb2.StreamingConfig)]
    assert configs == items[: len(configs)]
    return (configs or [None])[-1], b"".join(item for item in items if isinstance(item, bytes))


@pytest.mark.parametrize(
    ("input_format", "encoding", "rate"),
    [
        ("pcm", stt_pb2.ENCODING_PCM_S16LE, 24_000),
        ("pcm_8000", stt_pb2.ENCODING_PCM_S16LE, 8_000),
        ("pcm_44100", stt_pb2.ENCODING_PCM_S16LE, 44_100),
        ("wav", stt_pb2.ENCODING_PCM_S16LE, 24_000),
        # What their servers take it for.
        (None, stt_pb2.ENCODING_PCM_S16LE, 24_000),
        ("opus", stt_pb2.ENCODING_OGG_OPUS, 0),
        ("ulaw_8000", stt_pb2.ENCODING_MULAW, 8_000),
        ("mulaw_8000", stt_pb2.ENCODING_MULAW, 8_000),
        ("alaw_8000", stt_pb2.ENCODING_ALAW, 8_000),
    ],
)
def test_setup_opens_the_call(input_format: str | None, encoding: int, rate: int) -> None:
    config_as_text = json.dumps({"language": "en"})
    (config,) = GradiumCodec(Handshake()).decode(setup(input_format, json_config=config_as_text))
    assert isinstance(config, stt_pb2.StreamingConfig)
    assert (config.encoding, config.sample_rate_hertz) == (encoding, rate)


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (audio(b"\0\0"), 'type "audio". The first message must be {"type":"setup"'),
        (b"\0", "binary"),
        ("", "not JSON"),
        ("[" * 5000, "not JSON"),
        ("[]", "not a JSON object"),
        (setup("mp3"), "no input_format"),
        (setup("pcm_96000"), "no input_format"),
        (json.dumps({"type": "setup", "input_format": {}}), "no input_format"),
        (setup("pcm").replace('"default"', "[]"), "model_name"),
    ],
)
def test_a_first_message_that_is_no_setup_ends_the_session(
    message: Message, complaint: str
) -> None:
    codec = GradiumCodec(Handshake())
    with pytest.raises(ProtocolError) as raised:
        codec.decode(message)
    assert complaint in str(raised.value)
    farewell = codec.encode_closing(close_for_bad_request(str(raised.value)))
    assert farewell.code == 1008
    (error,) = read(farewell.messages)
    assert (error["type"], error["code"]) == ("error", 1008)
    assert complaint in error["message"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "audio"},
        {"type": "audio", "audio": 1},
        {"type": "audio", "audio": "AA=A"},
        {"type": "audio", "audio": "AA A"},
        {"type": "audio", "audio": "A"},
        {"type": "audio", "audio": "Ä"},
        {"type": "flush", "flush_id": []},
        {"type": "flush", "flush_id": "x" * 300},
        {"type": "flush", "flush_id": "\ud800"},
        {"type": "flush", "flush_id": float("nan")},
        {"type": "setup"},
        {"type": "text"},
    ],
)
def test_what_is_wrong_later_ends_the_session_too(message: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        make_codec().decode(json.dumps(message))


def test_ready_says_what_clients_read() -> None:
    codec = make_codec()
    (ready,) = read(codec.encode_event(events.ready(0.5, "s-1")))
    assert ready == {
        "type": "ready",
        "request_id": "s-1",
        "model_name": "default",
        "sample_rate": 24_000,
        "frame_size": 1920,
        "delay_in_frames": 7,
        "delay_in_tokens": 7,
        "text_stream_names": [],
    }
    assert codec.encode_event(events.ready()) == []


@given(st.binary())
def test_audio_is_what_was_sent(data: bytes) -> None:
    assert make_codec().decode(audio(data)) == ([data] if data else [])


@pytest.mark.parametrize("flush_id", [1, "1", 1.5, None, True, "ä\n", 2**64])
def test_a_flush_id_comes_back_with_its_type(flush_id: object) -> None:
    codec = make_codec()
    (flush,) = codec.decode(json.dumps({"type": "flush", "flush_id": flush_id}))
    codec.decode(json.dumps({"type": "flush", "flush_id": "second"}))
    assert isinstance(flush, stt_pb2.Flush)
    (back,) = read(codec.encode_event(events.flushed(flush.flush_id)))
    assert back == {"type": "flushed", "flush_id": flush_id}
    assert type(back["flush_id"]) is type(flush_id)
    (second,) = read(codec.encode_event(events.flushed(flush.flush_id)))
    assert second["flush_id"] == "second"


def test_words_and_steps() -> None:
    codec = make_codec()
    codec.encode_event(events.ready())
    seen: list[dict[str, Any]] = []
    for event in (
        events.step(0, mid_word=True),
        events.token(" Hel", 0.5),
        events.step(1, mid_word=True),
        # A letter that takes two pieces.
        events.step(2, mid_word=True),
        events.token("lö", 0.5),
        events.step(3, (0.25, 0.5, 0.75, 1.0)),
        events.word("Hellö", 0.5, 0.9),
    ):
        seen += read(codec.encode_event(event))
    assert [message["type"] for message in seen] == [*["step"] * 3, "text", "step", "end_text"]
    assert seen[3] == {"type": "text", "text": "Hellö", "start_s": 0.5, "stream_id": 0}
    assert seen[4] == {
        "type": "step",
        "vad": [
            {"horizon_s": 0.5, "inactivity_prob": 0.25},
            {"horizon_s": 1.0, "inactivity_prob": 0.5},
            {"horizon_s": 2.0, "inactivity_prob": 0.75},
            {"horizon_s": 3.0, "inactivity_prob": 1.0},
        ],
        "step_idx": 3,
        "step_duration_s": 0.08,
        "total_duration_s": 0.32,
    }
    assert seen[5] == {"type": "end_text", "stop_s": 0.9, "stream_id": 0}


def test_a_model_without_heads_is_certain_of_its_pauses() -> None:
    codec = make_codec()

    def inactive() -> set[float]:
        (message,) = [
            m for m in read(codec.encode_event(events.step(0, ()))) if m["type"] == "step"
        ]
        assert [entry["horizon_s"] for entry in message["vad"]] == [0.5, 1.0, 2.0, 3.0]
        return {entry["inactivity_prob"] for entry in message["vad"]}

    assert inactive() == {0.0}
    codec.encode_event(events.token(" a"))
    codec.encode_event(events.vad_end())
    assert inactive() == {1.0}
    codec.encode_event(events.token(" b"))
    assert inactive() == {0.0}


def test_a_words_text_is_never_later_than_flushed_or_the_end() -> None:
    codec = make_codec()
    codec.decode(json.dumps({"type": "flush", "flush_id": 0}))
    codec.encode_event(events.token(" last"))
    messages = read(codec.encode_event(events.flushed()))
    assert [message["type"] for message in messages] == ["text", "flushed"]
    codec.encode_event(events.token(" word"))
    messages = read(codec.encode_event(events.final()))
    assert [message["type"] for message in messages] == ["text", "end_of_stream"]


def test_end_of_stream_ends_it() -> None:
    assert make_codec().decode('{"type":"end_of_stream"}') == [End()]


def test_how_it_ends() -> None:
    codec = make_codec()
    idle = codec.encode_closing(close_for_error(Idle("idle")))
    assert (idle.messages, idle.code) == ((), 1000)
    for error, code in ((ServerFull("All taken."), 1011), (InvalidAudio("Too loud."), 1008)):
        farewell = codec.encode_closing(close_for_error(error))
        assert farewell.code == code
        assert read(farewell.messages) == [{"type": "error", "message": str(error), "code": code}]


class TestWav:
    @pytest.mark.parametrize("piece", [1, 7, 4096, 1_000_000])
    def test_the_header_says_the_rate(self, piece: int) -> None:
        wav = make_wav()
        config, samples = feed_wav(make_codec("wav"), wav, piece)
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert (config.encoding, config.sample_rate_hertz) == (stt_pb2.ENCODING_PCM_S16LE, 16_000)
        assert samples == wav[44:]

    def test_a_file_as_the_call_was_opened_opens_no_other(self) -> None:
        config, samples = feed_wav(make_codec("wav"), make_wav(rate=24_000), 4096)
        assert config is None
        assert len(samples) == 2 * len(SAMPLES)

    @pytest.mark.parametrize(
        ("subtype", "encoding"),
        [
            ("FLOAT", stt_pb2.ENCODING_PCM_F32LE),
            ("ULAW", stt_pb2.ENCODING_MULAW),
            ("ALAW", stt_pb2.ENCODING_ALAW),
        ],
    )
    def test_other_samples(self, subtype: str, encoding: int) -> None:
        config, samples = feed_wav(make_codec("wav"), make_wav(subtype, 8000), 100)
        assert isinstance(config, stt_pb2.StreamingConfig)
        assert config.encoding == encoding
        assert samples in make_wav(subtype, 8000)

    @pytest.mark.parametrize(
        "wav",
        [
            make_wav(channels=2),
            make_wav("PCM_24"),
            make_wav(rate=96_000),
            b"OggS" + bytes(100),
            b"RIFF\0\0\0\0AVI " + bytes(100),
            b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd",
            b"RIFF\0\0\0\0WAVEfmt \4\0\0\0abcddata",
            b"RIFF\0\0\0\0WAVEjunk" + struct.pack("<I", 2**31) + bytes(70_000),
        ],
    )
    def test_what_cannot_be_read_is_said(self, wav: bytes) -> None:
        codec = make_codec("wav")
        with pytest.raises(ProtocolError, match="WAV"):
            for start in range(0, len(wav), 4096):
                codec.decode(audio(wav[start : start + 4096]))

    def test_chunks_after_the_samples_are_no_samples(self) -> None:
        wav = make_wav() + b"LIST\4\0\0\0INFO"
        assert feed_wav(make_codec("wav"), wav, 4096)[1] == wav[44:-12]

    def test_a_file_of_unknown_length(self) -> None:
        wav = bytearray(make_wav())
        wav[40:44] = b"\xff" * 4
        assert feed_wav(make_codec("wav"), bytes(wav), 4096)[1] == bytes(wav[44:])
