"""The documented WebSocket protocol, with the real server and the embedded model."""

import asyncio
import json
import struct
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from itertools import pairwise

import grpc
import numpy as np
import pytest
import soxr
import websockets

from gateway.config import GatewayConfig
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.gateway.harness import Ended, read_to_close, read_until
from tests.interleaving import become
from tests.support import Recording, Service

END = '{"type":"end"}'
FRAME_BYTES = 1920 * 4
SLOTS = 8


async def transcribe(url: str, pieces: Iterable[bytes]) -> Ended:
    """Send the pieces and an end, read to the close."""
    async with websockets.connect(url) as websocket:
        reading = asyncio.create_task(read_to_close(websocket))
        for piece in pieces:
            await websocket.send(piece)
        await websocket.send(END)
        return await reading


def split(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]


async def test_the_documented_example_gets_the_last_word_without_an_end(
    service: Service, recordings: tuple[Recording, ...]
):
    recording = recordings[0]
    text, kinds = "", set[str]()
    async with websockets.connect(service.websocket_url) as websocket:
        await websocket.send(recording.pcm_f32le())
        async with asyncio.timeout(8):
            async for line in websocket:
                message = json.loads(line)
                kinds.add(message["type"])
                if message["type"] == "token":
                    assert set(message) == {"type", "text"}
                    text += message["text"]
                    if text.split() == recording.text.split():
                        break
    assert text.split() == recording.text.split()
    assert kinds <= {"token", "vad_end", "ping"}


@pytest.mark.parametrize("size", [FRAME_BYTES, 7103 * 4, 7103 * 4 - 1, 4999, 3])
async def test_odd_splits_give_the_same_text(
    service: Service, beginnings: tuple[Recording, ...], size: int
):
    recording = beginnings[1]
    audio = recording.pcm_f32le()
    if size == 3:
        audio = audio[: 120 * 1024]
        whole = await transcribe(service.websocket_url, [audio])
        assert (await transcribe(service.websocket_url, split(audio, size))).text == whole.text
        return
    ended = await transcribe(service.websocket_url, split(audio, size))
    assert ended.text.split() == recording.text.split()
    assert ended.code == 1000


async def test_one_byte_at_a_time(service: Service, beginnings: tuple[Recording, ...]):
    samples = beginnings[2].samples()
    pcm16 = (soxr.resample(samples, 24_000, 8_000)[: 8_000 * 2] * 32767).astype("<i2").tobytes()
    url = f"{service.websocket_url}?encoding=pcm_s16le&sample_rate=8000"
    whole = await transcribe(url, [pcm16])
    assert whole.text
    assert (await transcribe(url, split(pcm16, 1))).text == whole.text


async def test_sixteen_bits_at_16_khz(service: Service, recordings: tuple[Recording, ...]):
    recording = recordings[3]
    pcm = soxr.resample(recording.samples(), 24_000, 16_000)
    pcm16 = (np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes()
    url = f"{service.websocket_url}?encoding=pcm_s16le&sample_rate=16000"
    assert (await transcribe(url, [pcm16])).text.split() == recording.text.split()


async def test_words_and_final_if_asked_for(service: Service, recordings: tuple[Recording, ...]):
    recording = recordings[4]
    url = f"{service.websocket_url}?events=ready,word,final"
    ended = await transcribe(url, split(recording.pcm_f32le(), FRAME_BYTES))
    assert ended.kinds[0] == "ready"
    final = ended.messages[-1]
    assert final["type"] == "final"
    assert final["transcript"] == ended.text
    assert final["audio_duration"] == pytest.approx(len(recording.samples()) / 24_000, abs=1e-5)
    words = [message for message in ended.messages if message["type"] == "word"]
    assert [{**word, "type": "word"} for word in final["words"]] == words
    assert [word["text"] for word in words] == recording.text.split()
    for word, spoken in zip(words, recording.words, strict=True):
        assert word["start"] == pytest.approx(spoken.start_s, abs=0.5)
        assert 0 <= word["confidence"] <= 1
    assert all(one["start"] < two["start"] for one, two in pairwise(words))


async def transcribe_over_grpc(service: Service, audio: bytes) -> str:
    """Transcribe over gRPC, with nothing but the stubs."""
    requests = [stt_pb2.StreamingTranscribeRequest(config=stt_pb2.StreamingConfig())]
    requests += [
        stt_pb2.StreamingTranscribeRequest(audio=piece) for piece in split(audio, FRAME_BYTES)
    ]
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        async for response in stub.StreamingTranscribe(iter(requests)):
            if response.HasField("final"):
                return response.final.transcript
    raise AssertionError("no final")


async def test_eight_clients_over_two_protocols_get_their_own_words(
    service: Service, recordings: tuple[Recording, ...]
):
    async def over_websocket(recording: Recording) -> str:
        pieces = split(recording.pcm_f32le(), FRAME_BYTES)
        return (await transcribe(service.websocket_url, pieces)).text

    transcripts = await asyncio.gather(
        *(over_websocket(recording) for recording in recordings[:4]),
        *(transcribe_over_grpc(service, recording.pcm_f32le()) for recording in recordings[4:8]),
    )
    assert [text.split() for text in transcripts] == [r.text.split() for r in recordings[:8]]


async def test_a_flush_brings_the_words_at_once_and_the_session_goes_on(
    service: Service, recordings: tuple[Recording, ...]
):
    first, second = recordings[5], recordings[6]
    url = f"{service.websocket_url}?events=flushed&stall_timeout=60"
    async with websockets.connect(url) as websocket:
        await websocket.send(first.pcm_f32le())
        await websocket.send('{"type":"flush","flush_id":"here"}')
        text = ""
        while (message := json.loads(await websocket.recv()))["type"] != "flushed":
            text += message.get("text", "")
        assert message == {"type": "flushed", "flush_id": "here"}
        assert text.split() == first.text.split()
        await websocket.send(second.pcm_f32le())
        await websocket.send(END)
        rest = (await read_to_close(websocket)).text.split()
    # A change of speaker without a pause is hard for the small model; only the end is compared.
    assert rest[-2:] == second.text.split()[-2:]


async def test_silence_ends_a_session_as_idle_with_all_its_words(
    service: Service, recordings: tuple[Recording, ...]
):
    recording = recordings[7]
    url = f"{service.websocket_url}?idle_timeout=1.5&stall_timeout=60"
    async with websockets.connect(url) as websocket:
        await websocket.send(recording.pcm_f32le())
        ended = await read_to_close(websocket)
    assert ended.text.split() == recording.text.split()
    assert (ended.code, ended.reason) == (1000, "idle")
    assert "error" not in ended.kinds


@pytest.mark.parametrize(
    "samples",
    [[0.1, float("nan")], [0.1, float("inf")], [12000.0, -9000.0]],
    ids=["nan", "infinite", "int16 sent as float32"],
)
async def test_bad_audio(service: Service, samples: list[float]):
    async with websockets.connect(service.websocket_url) as websocket:
        # The client goes on sending, as a microphone would; the reason must still arrive.
        await websocket.send(struct.pack(f"<{len(samples)}f", *samples) * 5000)
        ended = await read_to_close(websocket)
    assert ended.code == 1007
    assert ended.error


async def test_bad_query(service: Service):
    async with websockets.connect(f"{service.websocket_url}?sample_rate=44") as websocket:
        ended = await read_to_close(websocket)
    assert ended.code == 1008
    assert "from 8000 to 192000" in ended.error


async def has_a_free_slot(service: Service) -> bool:
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        return (await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())).slots_free > 0


async def test_one_session_too_many_is_refused_and_a_slot_is_free_again_when_its_client_leaves(
    service: Service, recordings: tuple[Recording, ...]
):
    recording = recordings[0]
    url = f"{service.websocket_url}?events=ready"
    async with AsyncExitStack() as stack:
        taken = [await stack.enter_async_context(websockets.connect(url)) for _ in range(SLOTS)]
        await asyncio.gather(*(read_until(websocket, "ready") for websocket in taken))
        started_s = time.monotonic()
        async with websockets.connect(url) as websocket:
            ended = await read_to_close(websocket)
        waited_s = time.monotonic() - started_s
        assert ended.code == 1013
        assert "slot" in ended.error
        assert waited_s > GatewayConfig.wait_for_slot_s - 0.1, "one of the others might have ended"
        assert waited_s < GatewayConfig.patience_s / 4, "a full server is no cold start"

        taken[0].transport.abort()
        await become(
            lambda: has_a_free_slot(service), lambda: "the slot is still taken", patience_s=60
        )
        ended = await transcribe(service.websocket_url, [recording.pcm_f32le()])
    assert ended.text.split() == recording.text.split()
