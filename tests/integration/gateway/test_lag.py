"""The lag of a live session of the real service beside floods: a slow test of what is promised."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Callable

import pytest
import websockets

from tests.integration.gateway.floods import FLOODS, flood
from tests.integration.gateway.harness import RunningGateway
from tests.support import Recording, run_service

FLOODERS = 4
FRAME_BYTES = 1920 * 4
FRAME_S = 0.08
NOISE_S = 0.01


async def measure(gateway: RunningGateway, audio: bytes) -> list[float]:
    """Speak in real time. For each token and word, in seconds and in order of size: how long ago
    the last audio was sent that the model had heard when it made it."""
    loop = asyncio.get_running_loop()
    lags: list[float] = []
    sent_s: list[float] = []

    async def read(websocket: websockets.ClientConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                message = json.loads(await websocket.recv())
                frame = round(message.get("processed", 0.0) / FRAME_S) - 1
                if message["type"] in ("token", "word") and frame < len(sent_s):
                    lags.append(loop.time() - sent_s[frame])

    async with gateway.connect("?events=word&timing=1") as websocket:
        reading = asyncio.create_task(read(websocket))
        started_s = loop.time()
        for start in range(0, len(audio), FRAME_BYTES):
            await asyncio.sleep(started_s + len(sent_s) * FRAME_S - loop.time())
            sent_s.append(loop.time())
            await websocket.send(audio[start : start + FRAME_BYTES])
        # What comes behind the audio is made by the end, not by a frame.
        reading.cancel()
    return sorted(lags)


def percentile(lags: list[float], share: float) -> float:
    return lags[math.ceil(share * len(lags)) - 1]


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_four_floods_do_not_double_the_lag(
    recordings: tuple[Recording, ...], tell: Callable[[str], None]
):
    audio = b"".join(recording.pcm_f32le() for recording in recordings[:3])
    # More slots than floods that come and go can take.
    context = run_service("--batch-size", "16")
    service = await asyncio.to_thread(context.__enter__)
    try:
        gateway = RunningGateway(service.http)
        alone = await measure(gateway, audio)
        tell(f"alone: p50 {percentile(alone, 0.5):.3f} p99 {percentile(alone, 0.99):.3f} s")
        for kind in FLOODS:
            async with flood(gateway.http, kind, FLOODERS):
                beside = await measure(gateway, audio)
            p50, p99 = percentile(beside, 0.5), percentile(beside, 0.99)
            tell(f"{kind}: p50 {p50:.3f} p99 {p99:.3f} s")
            assert len(beside) == pytest.approx(len(alone), abs=4)
            assert p99 < 2 * percentile(alone, 0.99) + NOISE_S, f"beside {kind}"
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)
