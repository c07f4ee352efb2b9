"""Live streams through the protocols that are not ours, as their clients send them."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import numpy as np

Audio = AsyncGenerator[bytes]
"""Float32 at 24 kHz, 80 ms in each item."""
NoteText = Callable[[], None]
"""Called for each piece of text."""
Stream = Callable[[str, Audio, NoteText], Awaitable[None]]
"""Carries the audio to a server's address, HOST:PORT, until all of it was transcribed."""

RATE_HERTZ = 24_000


async def stream_moshi(address: str, audio: Audio, note_text: NoteText) -> None:
    """moshi-server: MessagePack, with a marker at the end."""
    import msgpack as untyped_msgpack
    from websockets.asyncio.client import connect

    msgpack: Any = untyped_msgpack

    def pack(**fields: Any) -> bytes:
        return msgpack.packb(fields, use_single_float=True)

    url = f"ws://{address}/api/asr-streaming"
    async with connect(url, proxy=None, compression=None) as socket:

        async def send() -> None:
            async for samples in audio:
                await socket.send(pack(type="Audio", pcm=np.frombuffer(samples, "<f4").tolist()))
            await socket.send(pack(type="Marker", id=0))

        sending = asyncio.create_task(send())
        async for message in socket:
            match msgpack.unpackb(message)["type"]:
                case "Word":
                    note_text()
                case "Marker":
                    break
                case _:
                    pass
        await sending


async def stream_gradium(address: str, audio: Audio, note_text: NoteText) -> None:
    """Gradium: JSON with base64."""
    from websockets.asyncio.client import connect

    url = f"ws://{address}/api/speech/asr"
    async with connect(url, proxy=None, compression=None) as socket:

        async def send() -> None:
            await socket.send('{"type": "setup", "input_format": "pcm"}')
            async for samples in audio:
                await socket.send(json.dumps({"type": "audio", "audio": encode_pcm16(samples)}))
            await socket.send('{"type": "end_of_stream"}')

        sending = asyncio.create_task(send())
        async for message in socket:
            if json.loads(message)["type"] == "text":
                note_text()
        await sending


async def stream_openai(address: str, audio: Audio, note_text: NoteText) -> None:
    """OpenAI realtime: JSON with base64, one turn that the client commits."""
    from websockets.asyncio.client import connect

    append, commit = "input_audio_buffer.append", "input_audio_buffer.commit"
    update = {"type": "transcription", "audio": {"input": {"turn_detection": None}}}
    url = f"ws://{address}/v1/realtime?intent=transcription"
    async with connect(url, proxy=None, compression=None) as socket:

        async def send() -> None:
            await socket.send(json.dumps({"type": "session.update", "session": update}))
            async for samples in audio:
                await socket.send(json.dumps({"type": append, "audio": encode_pcm16(samples)}))
            await socket.send(json.dumps({"type": commit}))

        sending = asyncio.create_task(send())
        async for message in socket:
            kind = json.loads(message)["type"]
            if kind.endswith(".delta"):
                note_text()
            elif kind.endswith(".completed"):
                break
        await sending


async def stream_riva(address: str, audio: Audio, note_text: NoteText) -> None:
    """NVIDIA Riva: gRPC, with interim results."""
    import grpc

    from stt.nvidia_riva import riva_asr_pb2, riva_asr_pb2_grpc, riva_audio_pb2

    request = riva_asr_pb2.StreamingRecognizeRequest
    config = riva_asr_pb2.StreamingRecognitionConfig(
        config=riva_asr_pb2.RecognitionConfig(
            encoding=riva_audio_pb2.LINEAR_PCM, sample_rate_hertz=RATE_HERTZ
        ),
        interim_results=True,
    )

    async def requests() -> AsyncGenerator[riva_asr_pb2.StreamingRecognizeRequest]:
        yield request(streaming_config=config)
        async for samples in audio:
            yield request(audio_content=to_pcm16(samples))

    async with grpc.aio.insecure_channel(address) as channel:
        stub = riva_asr_pb2_grpc.RivaSpeechRecognitionStub(channel)
        async for _ in stub.StreamingRecognize(requests()):
            note_text()


def to_pcm16(samples: bytes) -> bytes:
    """Float32 as 16-bit PCM."""
    return (np.frombuffer(samples, "<f4") * 32_767).astype("<i2").tobytes()


def encode_pcm16(samples: bytes) -> str:
    """The same in base64, as it stands in JSON."""
    return base64.b64encode(to_pcm16(samples)).decode()


STREAMS: dict[str, Stream] = {
    "moshi": stream_moshi,
    "gradium": stream_gradium,
    "openai": stream_openai,
    "riva": stream_riva,
}
