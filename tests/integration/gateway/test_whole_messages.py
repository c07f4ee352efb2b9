"""Messages that a protocol needs whole: their order, their largest size, and who makes room."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import numpy as np
import pytest
import websockets

from tests.integration.gateway.doors import (
    GRADIUM,
    MOSHI,
    REALTIME,
    UPDATE,
    append,
    connect,
    pack,
    read_to_close,
    read_until,
)
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become

PCM = bytes(range(256)) * 30


async def test_a_large_message_in_fragments_and_its_order(
    gateway: RunningGateway, scripted: ScriptedService
):
    samples = np.arange(200_000, dtype="<f4") / 1e6
    packed = pack("Audio", pcm=samples.tolist())
    async with connect(gateway, MOSHI) as websocket:
        await read_until(websocket, "Ready")
        await websocket.send(packed[at : at + 9973] for at in range(0, len(packed), 9973))
        for number in range(50):
            await websocket.send(pack("Audio", pcm=[float(number)]))
        wanted = samples.tobytes() + np.arange(50, dtype="<f4").tobytes()
        await become(
            lambda: len(scripted.calls[0].audio) == len(wanted), lambda: "audio is missing"
        )
    assert bytes(scripted.calls[0].audio) == wanted


async def test_a_text_that_is_longer_than_any_command(
    gateway: RunningGateway, scripted: ScriptedService
):
    audio = PCM * 100
    async with connect(gateway, REALTIME) as websocket:
        await websocket.send(UPDATE)
        await websocket.send(append(audio))
        await become(
            lambda: bool(scripted.calls) and len(scripted.calls[0].audio) == len(audio),
            lambda: "audio is missing",
        )
    assert bytes(scripted.calls[0].audio) == audio


@pytest.mark.parametrize("path", [MOSHI, GRADIUM, REALTIME])
async def test_a_message_beyond_the_limit_ends_the_session(scripted: ScriptedService, path: str):
    async with (
        run_scripted(scripted) as endpoint,
        run_gateway(endpoint, max_message_bytes=100_000) as gateway,
        connect(gateway, path) as websocket,
    ):
        with contextlib.suppress(websockets.ConnectionClosed):
            await websocket.send(bytes(200_000) if path == MOSHI else "x" * 200_000)
        messages = await read_to_close(websocket)
    assert messages[-1]["type"].lower() == "error"
    assert "100,000 bytes" in json.dumps(messages[-1])
    # Gradium knows two codes only.
    assert websocket.close_code == (1008 if path == GRADIUM else 1009)


async def test_many_unfinished_messages_make_room_for_the_small_ones(scripted: ScriptedService):
    async with contextlib.AsyncExitStack() as stack:
        endpoint = await stack.enter_async_context(run_scripted(scripted))
        gateway = await stack.enter_async_context(
            run_gateway(endpoint, max_buffered_bytes=4 * 1024 * 1024)
        )
        large = [await stack.enter_async_context(connect(gateway, MOSHI)) for _ in range(3)]

        async def begin(websocket: websockets.ClientConnection) -> int | None:
            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(10):
                    yield bytes(64 * 1024)
                await done.wait()

            with contextlib.suppress(websockets.ConnectionClosed):
                await websocket.send(pieces())
            return websocket.close_code

        done = asyncio.Event()
        sending = [asyncio.create_task(begin(websocket)) for websocket in large]
        # Three times 640 KiB, of which 128 KiB each do not count, do not fit into 1 MiB.
        closes = [asyncio.create_task(websocket.wait_closed()) for websocket in large]
        await asyncio.wait(closes, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(pack("Audio", pcm=[0.5] * 24_000))
            await become(
                lambda: any(len(call.audio) == 96_000 for call in scripted.calls),
                lambda: "live audio is held up",
            )
        done.set()
        await asyncio.gather(*sending)
        assert [websocket.close_code for websocket in large].count(1013) == 1
