"""Ogg Opus over both protocols: the words are those of the same recording as PCM."""

import asyncio

import grpc
import numpy as np
import pytest
import websockets

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.gateway.harness import Ended, read_to_close
from tests.integration.server.calls import reason, request_audio, request_config, split, stream
from tests.ogg_files import FIREFOX, LIVE, Layout, OpusAudio, encode_opus, write_ogg
from tests.support import MODEL_RATE_HERTZ, Recording, Service

OPUS = stt_pb2.ENCODING_OGG_OPUS
# Longer than the 5 s that a decoder may hold.
LONG = 6
WHOLE = 10**9


def encode(recording: Recording, **options: object) -> OpusAudio:
    """A recording, with half a second of silence after it, at the rate of an ordinary file."""
    samples = recording.samples()
    padded = np.concatenate([samples, np.zeros(MODEL_RATE_HERTZ // 2, dtype=np.float32)])
    return encode_opus(padded, MODEL_RATE_HERTZ, **{"bit_rate": 31_000, **options})


async def over_websocket(service: Service, data: bytes, message_bytes: int = WHOLE) -> Ended:
    url = f"{service.websocket_url}?encoding=ogg_opus&events=final"
    async with websockets.connect(url) as websocket:
        reading = asyncio.create_task(read_to_close(websocket))
        for message in split(data, message_bytes):
            await websocket.send(message)
        await websocket.send('{"type":"end"}')
        return await reading


async def over_grpc(service: Service, data: bytes, message_bytes: int = WHOLE) -> stt_pb2.Final:
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        requests = [request_config(encoding=OPUS), *map(request_audio, split(data, message_bytes))]
        return (await stream(channel, requests))[-1].final


@pytest.mark.parametrize("message_bytes", [1_000, WHOLE])
async def test_a_file_over_websocket(service: Service, recordings, message_bytes: int) -> None:
    data = write_ogg(encode(recordings[LONG]))
    assert 20_000 < len(data) < 30_000
    ended = await over_websocket(service, data, message_bytes)
    assert (ended.code, ended.text.strip()) == (1000, recordings[LONG].text)


async def test_a_file_in_one_call(service: Service, recordings) -> None:
    audio = encode(recordings[LONG])
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        config = stt_pb2.StreamingConfig(encoding=OPUS)
        answer = await stub.Transcribe(
            stt_pb2.TranscribeRequest(config=config, audio=write_ogg(audio))
        )
    assert answer.transcript.strip() == recordings[LONG].text
    duration_ms = audio.samples / 48
    assert answer.audio_duration.ToMilliseconds() == pytest.approx(duration_ms, abs=1)


FILES = {
    "firefox": ({}, FIREFOX),
    "packets across pages": ({"bit_rate": 64_000}, Layout(segments_per_page=7)),
    "constant rate": ({"vbr": "off"}, Layout()),
    "2.5 ms": ({"packet_ms": 2.5, "bit_rate": 64_000}, LIVE),
    "60 ms": ({"packet_ms": 60, "application": "voip"}, LIVE),
}


@pytest.mark.parametrize("name", FILES)
async def test_files_of_many_kinds(service: Service, beginnings, name: str) -> None:
    options, layout = FILES[name]
    data = write_ogg(encode(beginnings[0], **options), layout)
    assert (await over_grpc(service, data, 1_000)).transcript.strip() == beginnings[0].text


async def test_live_pages_of_two_thirds_of_a_second_do_not_stall(
    service: Service, beginnings: tuple[Recording, ...]
) -> None:
    """As Firefox records: longer than the model's delay, after which silence is made up."""
    pages = [
        b"OggS" + rest for rest in write_ogg(encode(beginnings[0]), FIREFOX).split(b"OggS")[1:]
    ]
    url = f"{service.websocket_url}?encoding=ogg_opus"
    async with websockets.connect(url) as websocket:
        reading = asyncio.create_task(read_to_close(websocket))
        for page in pages:
            await websocket.send(page)
            await asyncio.sleep(0.64 if page is not pages[-1] else 0)
        await websocket.send('{"type":"end"}')
        ended = await reading
    assert ended.text.strip() == beginnings[0].text


async def test_links_of_a_chain_are_heard_one_after_the_other(
    service: Service, beginnings: tuple[Recording, ...]
) -> None:
    links = [
        write_ogg(encode(beginnings[0])),
        write_ogg(encode(beginnings[2], packet_ms=60), FIREFOX),
    ]
    ended = await over_websocket(service, b"".join(links))
    assert ended.text.split() == [*beginnings[0].text.split(), *beginnings[2].text.split()]


async def test_what_is_cut_off_is_heard_as_far_as_it_goes(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    data = write_ogg(encode(recordings[0]), LIVE)
    heard = (await over_grpc(service, data[: len(data) // 2])).transcript.split()
    words = recordings[0].text.split()
    assert 2 <= len(heard) < len(words)
    assert heard[:-1] == words[: len(heard) - 1]


async def test_what_is_no_ogg_is_named_over_both_protocols(service: Service) -> None:
    webm = b"\x1a\x45\xdf\xa3" + bytes(100)
    ended = await over_websocket(service, webm)
    assert (ended.code, "looks like WebM" in ended.error) == (1007, True)
    with pytest.raises(grpc.aio.AioRpcError, match="looks like WebM") as caught:
        await over_grpc(service, webm)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason(caught.value) == "INVALID_AUDIO"
