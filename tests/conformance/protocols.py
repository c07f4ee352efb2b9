"""A plain client of each protocol: sends a whole conversation and returns what it was told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import msgpack
import numpy as np
import websockets

from stt.nvidia_riva import riva_asr_pb2, riva_asr_pb2_grpc, riva_audio_pb2
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.conformance.speech import FRAME_SAMPLES, Speech
from tests.support import MODEL_RATE_HERTZ, Service

MOSHI_PATH = "/api/asr-streaming"


@dataclass
class Heard:
    """What a client was told, in seconds of its own audio where the protocol has times."""

    turns: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(self.words or self.turns)


async def hear_by_grpc(service: Service, speech: Speech) -> Heard:
    """stt.v1."""
    heard = Heard()
    config = stt_pb2.StreamingConfig(
        encoding=stt_pb2.ENCODING_PCM_S16LE,
        events=[stt_pb2.OPTIONAL_EVENT_WORD, stt_pb2.OPTIONAL_EVENT_UTTERANCE],
        vad=stt_pb2.VadSettings(pause_seconds=1),
    )

    async def requests() -> AsyncIterator[stt_pb2.StreamingTranscribeRequest]:
        yield stt_pb2.StreamingTranscribeRequest(config=config)
        yield stt_pb2.StreamingTranscribeRequest(audio=speech.pcm_s16le)

    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        async for response in stub.StreamingTranscribe(requests()):
            match response.WhichOneof("event"):
                case "word":
                    heard.words.append(response.word.text)
                    heard.starts_s.append(response.word.start_offset.ToNanoseconds() / 1e9)
                    heard.ends_s.append(response.word.end_offset.ToNanoseconds() / 1e9)
                case "utterance":
                    heard.turns.append(response.utterance.text)
    return heard


async def hear_by_stream(service: Service, speech: Speech) -> Heard:
    """/v1/stream."""
    heard = Heard()
    query = "?events=word,utterance&encoding=pcm_s16le&pause_seconds=1"
    async with connect(service, f"/v1/stream{query}") as websocket:
        await websocket.send(speech.pcm_s16le)
        await websocket.send(json.dumps({"type": "end"}))
        async for message in websocket:
            event = json.loads(message)
            match event["type"]:
                case "word":
                    heard.words.append(event["text"])
                    heard.starts_s.append(event["start"])
                    heard.ends_s.append(event["end"])
                case "utterance":
                    heard.turns.append(event["text"])
    return heard


async def hear_by_moshi(service: Service, speech: Speech) -> Heard:
    """moshi-server, with a marker at the end."""
    async with connect(service, MOSHI_PATH) as websocket:

        async def send() -> None:
            for frame in frames_of(speech):
                await websocket.send(pack("Audio", pcm=frame.tolist()))
            await websocket.send(pack("Marker", id=0))

        return await exchange(websocket, send, read_moshi, until="Marker")


async def hear_by_post(service: Service, speech: Speech) -> Heard:
    """moshi-server, a file by POST."""
    heard = Heard()
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.post(
            f"http://{service.http}{MOSHI_PATH}", content=speech.path.read_bytes()
        )
    for message in answer.json():
        read_moshi(heard, message)
    return heard


async def hear_by_gradium(service: Service, speech: Speech) -> Heard:
    """Gradium, with a flush before the end."""
    async with connect(service, "/api/speech/asr") as websocket:

        async def send() -> None:
            await websocket.send(json.dumps({"type": "setup", "input_format": "pcm"}))
            await websocket.send(json.dumps({"type": "audio", "audio": encode(speech.pcm_s16le)}))
            await websocket.send(json.dumps({"type": "flush", "flush_id": "f"}))
            await websocket.send(json.dumps({"type": "end_of_stream"}))

        return await exchange(websocket, send, read_gradium)


async def hear_by_openai(service: Service, speech: Speech) -> Heard:
    """OpenAI realtime, with turns that the server finds."""
    detection = {"type": "server_vad", "silence_duration_ms": 1000}
    async with connect(service, "/v1/realtime?intent=transcription") as websocket:

        async def send() -> None:
            await websocket.send(update(detection))
            await websocket.send(append(speech.pcm_s16le))

        return await exchange(websocket, send, read_openai, turns=len(speech.turns))


async def hear_by_openai_commits(service: Service, speech: Speech) -> Heard:
    """OpenAI realtime, with turns that the client ends, and an empty one at the end."""
    async with connect(service, "/v1/realtime?intent=transcription") as websocket:

        async def send() -> None:
            await websocket.send(update(None))
            at = 0
            for end_s in speech.turn_ends_s:
                until = round(end_s * MODEL_RATE_HERTZ) * 2
                await websocket.send(append(speech.pcm_s16le[at:until]))
                await websocket.send(json.dumps({"type": "input_audio_buffer.commit"}))
                at = until
            await websocket.send(json.dumps({"type": "input_audio_buffer.commit"}))

        heard = await exchange(websocket, send, read_openai, turns=len(speech.turns) + 1)
    assert heard.turns.pop() == "", "a completed follows each commit"
    return heard


async def hear_by_riva(service: Service, speech: Speech) -> Heard:
    """NVIDIA Riva, on the gRPC port."""
    heard = Heard()
    config = riva_asr_pb2.RecognitionConfig(
        encoding=riva_audio_pb2.LINEAR_PCM,
        sample_rate_hertz=MODEL_RATE_HERTZ,
        enable_word_time_offsets=True,
        endpointing_config=riva_asr_pb2.EndpointingConfig(stop_history=1000),
    )
    streaming = riva_asr_pb2.StreamingRecognitionConfig(config=config)

    async def requests() -> AsyncIterator[riva_asr_pb2.StreamingRecognizeRequest]:
        yield riva_asr_pb2.StreamingRecognizeRequest(streaming_config=streaming)
        yield riva_asr_pb2.StreamingRecognizeRequest(audio_content=speech.pcm_s16le)

    async with grpc.aio.insecure_channel(service.grpc) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        async for response in stub.StreamingRecognize(requests()):
            best = response.results[0].alternatives[0]
            heard.turns.append(best.transcript.strip())
            heard.words += [word.word for word in best.words]
            heard.starts_s += [word.start_time / 1000 for word in best.words]
            heard.ends_s += [word.end_time / 1000 for word in best.words]
    return heard


def update(turn_detection: dict[str, Any] | None) -> str:
    session = {"type": "transcription", "audio": {"input": {"turn_detection": turn_detection}}}
    return json.dumps({"type": "session.update", "session": session})


def append(audio: bytes) -> str:
    return json.dumps({"type": "input_audio_buffer.append", "audio": encode(audio)})


def connect(service: Service, path: str, **options: Any) -> websockets.connect:
    return websockets.connect(f"ws://{service.http}{path}", proxy=None, **options)


async def exchange(
    websocket: websockets.ClientConnection,
    send: Callable[[], Awaitable[None]],
    read: Callable[[Heard, dict[str, Any]], None],
    until: str = "",
    turns: int = 0,
) -> Heard:
    """Send and read at once, until a message of that type, so many turns, or the close."""
    heard = Heard()
    sending = asyncio.ensure_future(send())
    async for message in websocket:
        event = json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)
        heard.kinds.append(event["type"])
        read(heard, event)
        if event["type"] == until or (turns and len(heard.turns) == turns):
            break
    await sending
    return heard


def read_moshi(heard: Heard, message: dict[str, Any]) -> None:
    match message["type"]:
        case "Word":
            heard.words.append(message["text"])
            heard.starts_s.append(message["start_time"])
        case "EndWord":
            heard.ends_s.append(message["stop_time"])
        case "Error":
            raise AssertionError(message)


def read_gradium(heard: Heard, message: dict[str, Any]) -> None:
    match message["type"]:
        case "text":
            heard.words.append(message["text"])
            heard.starts_s.append(message["start_s"])
        case "end_text":
            heard.ends_s.append(message["stop_s"])
        case "error":
            raise AssertionError(message)


def read_openai(heard: Heard, message: dict[str, Any]) -> None:
    if message["type"].endswith("transcription.completed"):
        heard.turns.append(message["transcript"])
    assert message["type"] != "error", message


def frames_of(speech: Speech) -> list[np.ndarray]:
    return np.split(speech.samples, len(speech.samples) // FRAME_SAMPLES)


def pack(kind: str, **fields: Any) -> bytes:
    return msgpack.packb({"type": kind, **fields}, use_single_float=True)


def encode(audio: bytes) -> str:
    return base64.b64encode(audio).decode()
