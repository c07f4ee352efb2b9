"""The protocols as their clients speak them, for tests of all doors."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import grpc
import msgpack
import websockets

from tests.integration.gateway.harness import Refusal, RunningGateway

FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "all 8 slots are taken", "NO_FREE_SLOT", 1.0)
MOSHI, GRADIUM, REALTIME = "/api/asr-streaming", "/api/speech/asr", "/v1/realtime"
SETUP = json.dumps({"type": "setup", "input_format": "pcm"})
UPDATE = json.dumps({"type": "session.update", "session": {"type": "transcription"}})


def connect(gateway: RunningGateway, path: str, **options: Any) -> websockets.connect:
    """A WebSocket at the path of a protocol."""
    return websockets.connect(f"ws://{gateway.http}{path}", proxy=None, **options)


def read(message: str | bytes) -> dict[str, Any]:
    """JSON of a text message, MessagePack of a binary one."""
    return json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)


async def read_until(websocket: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """Read until a message of that type."""
    while (message := read(await websocket.recv()))["type"] != kind:
        pass
    return message


async def read_to_close(websocket: websockets.ClientConnection) -> list[dict[str, Any]]:
    """All messages until the gateway closes."""
    messages: list[dict[str, Any]] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            messages.append(read(await websocket.recv()))
    return messages


def pack(kind: str, **fields: Any) -> bytes:
    """A message to moshi-server, with samples as its clients write them."""
    return msgpack.packb({"type": kind, **fields}, use_single_float=True)


def append(audio: bytes) -> str:
    """Audio for a realtime transcription of OpenAI."""
    return json.dumps(
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}
    )
