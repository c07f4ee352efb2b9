"""Clients that send as much as they can: a live session beside them, and the gateway's memory."""

from __future__ import annotations

import asyncio
import contextlib
import math
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.config import GatewayConfig
from tests.integration.gateway.floods import (
    FLOODS,
    MASK,
    ask_for_a_websocket,
    flood,
    open_socket,
)
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_until,
    run_scripted,
)
from tests.integration.gateway.test_process import GatewayProcess, start_gateway

FLOODERS = 4
FRAME = bytes(1920 * 4)
FRAME_S = 0.08
ROUNDS = 40
NOISE_S = 0.03
"""What another process on the machine may add to one answer."""


@pytest.fixture
async def served() -> AsyncIterator[tuple[ScriptedService, GatewayProcess]]:
    """A gateway in a process of its own, in front of a service that answers at once."""
    service = ScriptedService()
    async with run_scripted(service) as endpoint, start_gateway(endpoint) as gateway:
        yield service, gateway


async def measure(gateway: RunningGateway) -> float:
    """Nine of ten frames of a live session have their token within so many seconds."""
    loop = asyncio.get_running_loop()
    async with gateway.connect() as websocket:
        waits: list[float] = []
        for _ in range(ROUNDS):
            started_s = loop.time()
            await websocket.send(FRAME)
            await read_until(websocket, "token")
            waits.append(loop.time() - started_s)
            await asyncio.sleep(max(0.0, FRAME_S - waits[-1]))
    waits.sort()
    return waits[math.ceil(0.9 * len(waits)) - 1]


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_does_not_hold_up_a_live_session(
    served: tuple[ScriptedService, GatewayProcess], kind: str
):
    gateway = RunningGateway(served[1].http)
    alone_s = await measure(gateway)
    async with flood(gateway.http, kind, FLOODERS):
        beside_s = await measure(gateway)
    assert beside_s < 2 * alone_s + NOISE_S, f"{alone_s * 1000:.1f} ms alone"


MIB = 1024 * 1024
BASE_MIB = 64
"""What a gateway may grow by, whatever strangers do: caches, and memory that is kept for reuse."""


def resident_mib(gateway: GatewayProcess) -> float:
    """Memory of the process."""
    pages = int(Path(f"/proc/{gateway.process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


async def push(flooding: socket.socket, data: bytes, limit: int) -> int:
    """Send until the other side takes nothing for a while, or `limit` bytes are sent."""
    loop = asyncio.get_running_loop()
    sent = 0
    with contextlib.suppress(TimeoutError, OSError):
        while sent < limit:
            async with asyncio.timeout(0.5):
                await loop.sock_sendall(flooding, data)
            sent += len(data)
    return sent


async def grow(gateway: GatewayProcess, count: int, begin: bytes, data: bytes, each: int) -> float:
    """How many MiB the gateway grows by while `count` sockets send `each` bytes and never read."""
    before = resident_mib(gateway)
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(await asyncio.to_thread(open_socket, gateway.http))
            for _ in range(count)
        ]
        await asyncio.gather(*(push(each_, begin + data, each) for each_ in sockets))
        grown = resident_mib(gateway) - before
    return grown


async def test_unfinished_messages_hold_little(served: tuple[ScriptedService, GatewayProcess]):
    service, gateway = served
    service.holding = True
    begin = b"\x02\xff" + (60 * MIB).to_bytes(8, "big") + MASK
    grown = await grow(gateway, 10, begin, bytes(MIB), 60 * MIB)
    assert grown < 10 * GatewayConfig.buffer_bytes / MIB + BASE_MIB


async def test_pongs_that_nobody_reads_hold_nothing(
    served: tuple[ScriptedService, GatewayProcess],
):
    pings = (b"\x89\xfd" + MASK + bytes(125)) * 1000
    assert await grow(served[1], 10, b"", pings, 64 * MIB) < BASE_MIB


async def test_clients_that_never_read_hold_little(
    served: tuple[ScriptedService, GatewayProcess],
):
    service, gateway = served
    service.babble = "x" * 65536
    audio = b"\x82\xfe\x40\x00" + MASK + bytes(0x4000)
    grown = await grow(gateway, 24, b"", audio, MIB)
    # Some KiB in each buffer on the way, and gRPC's window, which must not grow.
    assert service.babbled * len(service.babble) < 24 * MIB
    assert grown < 24 + BASE_MIB


async def test_callers_that_wait_for_an_absent_service_are_bounded():
    async with run_scripted(ScriptedService()) as absent:
        pass
    async with start_gateway(absent, "--max-waiting", "40", "--max-buffered-mib", "64") as gateway:
        before = resident_mib(gateway)
        with contextlib.ExitStack() as stack:
            waiting = [
                stack.enter_context(await asyncio.to_thread(open_socket, gateway.http))
                for _ in range(40)
            ]
            answers = [await asyncio.to_thread(ask_for_a_websocket, gateway.http) for _ in range(3)]
            assert {answer.split()[1] for answer in answers} == {b"503"}
            begin = b"\x02\xff" + (60 * MIB).to_bytes(8, "big") + MASK
            await asyncio.gather(*(push(each, begin + bytes(MIB), 12 * MIB) for each in waiting))
            grown = resident_mib(gateway) - before
        # Half of what may be buffered is for those who wait.
        assert grown < 32 + BASE_MIB
