"""The lag of a live session of the real service beside floods: a slow test of what is promised."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable, Iterator

import pytest
import websockets

from tests.integration.gateway.floods import FLOODS, flood
from tests.integration.gateway.harness import RunningGateway, read_until
from tests.support import Recording, run_service

FLOODERS = 4
FRAME_BYTES = 1920 * 4
FRAME_S = 0.08
NOISE_S = 0.01
ROUNDS = 3
"""What else the machine does makes words later, never earlier: one round without it is enough."""


async def measure(gateway: RunningGateway, audio: bytes) -> list[float]:
    """Speak in real time. For each frame but the first, in seconds and in order of size: how long
    after it was sent the client was told that the model has heard it."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    sent_s: list[float] = []

    async def read(websocket: websockets.ClientConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while len(lags) < len(audio) // FRAME_BYTES:
                message = json.loads(await websocket.recv())
                if message["type"] == "step":
                    lags.append(loop.time() - sent_s[message["index"]])

    async with gateway.connect("?events=ready,step") as websocket:
        # The first frame would wait for the admission.
        await read_until(websocket, "ready")
        reading = asyncio.create_task(read(websocket))
        started_s = loop.time()
        for start in range(0, len(audio), FRAME_BYTES):
            await asyncio.sleep(started_s + len(sent_s) * FRAME_S - loop.time())
            sent_s.append(loop.time())
            await websocket.send(audio[start : start + FRAME_BYTES])
        await reading
    return sorted(lags)


def describe(lags: list[float]) -> str:
    return f"p50 {percentile(lags, 0.5) * 1000:.0f} ms, p99 {percentile(lags, 0.99) * 1000:.0f} ms"


def percentile(lags: list[float], share: float) -> float:
    return lags[math.ceil(share * len(lags)) - 1]


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    # More slots than floods that come and go can take.
    with run_service("--batch-size", "16") as service:
        yield RunningGateway(service.http)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", FLOODS)
async def test_four_floods_do_not_double_the_lag(
    gateway: RunningGateway,
    beginnings: tuple[Recording, ...],
    tell: Callable[[str], None],
    kind: str,
):
    audio = b"".join(recording.pcm_f32le() for recording in beginnings)
    for _ in range(ROUNDS):
        alone = await measure(gateway, audio)
        async with flood(gateway.http, kind, FLOODERS):
            beside = await measure(gateway, audio)
        tell(f"alone {describe(alone)}; beside {kind} {describe(beside)}")
        assert len(beside) == len(alone)
        if percentile(beside, 0.99) < 2 * percentile(alone, 0.99) + NOISE_S:
            return
    pytest.fail(f"{kind} make words late")
