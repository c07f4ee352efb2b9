"""More streams of one client than a server takes on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from client.options import FloatArray
from client.rpc.channels import MAX_STREAMS_PER_CHANNEL
from client.rpc.events import Final, Ready
from client.stream import SttClient
from tests.integration.gateway.harness import ScriptedService, run_scripted
from tests.integration.gateway.test_crowd import count_connections
from tests.interleaving import become

MAX_STREAMS = 100
CROWD = 120


async def test_every_stream_is_admitted_and_the_connections_are_given_back() -> None:
    service, is_over = ScriptedService(), asyncio.Event()

    async def source() -> AsyncIterator[FloatArray]:
        yield np.zeros(1, np.float32)
        await is_over.wait()

    async def stream(client: SttClient) -> str:
        async with client.stream(source()) as events:
            async for event in events:
                if isinstance(event, Ready):
                    admitted.release()
                if isinstance(event, Final):
                    return event.transcript
        raise AssertionError("a stream ends with Final")

    admitted = asyncio.Semaphore(0)
    async with (
        run_scripted(service, most_streams=MAX_STREAMS) as endpoint,
        SttClient(endpoint) as client,
        asyncio.timeout(60),
    ):
        streams = [asyncio.create_task(stream(client)) for _ in range(CROWD)]
        for _ in streams:
            await admitted.acquire()
        assert count_connections(endpoint) == -(-CROWD // MAX_STREAMS_PER_CHANNEL)
        is_over.set()
        assert await asyncio.gather(*streams) == [" 4"] * CROWD
        await become(lambda: count_connections(endpoint) <= 1, lambda: "connections are left")
