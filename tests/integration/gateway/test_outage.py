"""A client that sends audio while the real server is down gets its whole transcript."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import (
    Ended,
    RunningGateway,
    free_port,
    read_to_close,
    run_gateway,
)
from tests.interleaving import become
from tests.support import Recording, Service, run_service

END = '{"type":"end"}'
FRAME_BYTES = 1920 * 4
FRAME_S = 0.08
OUTAGE_S = 20


@asynccontextmanager
async def start_service(port: int) -> AsyncIterator[Service]:
    """The real server on that port, started without blocking the event loop."""
    context = run_service("--no-gateway", "--grpc", f"127.0.0.1:{port}")
    service = await asyncio.to_thread(context.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def speak(gateway: RunningGateway, recording: Recording) -> Ended:
    """Send a recording in real time, then `end`; read meanwhile."""
    audio = recording.pcm_f32le()
    async with gateway.connect("?events=final") as websocket:
        reading = asyncio.create_task(read_to_close(websocket))
        for start in range(0, len(audio), FRAME_BYTES):
            await websocket.send(audio[start : start + FRAME_BYTES])
            await asyncio.sleep(FRAME_S)
        await websocket.send(END)
        return await reading


async def test_a_gateway_that_starts_before_the_real_server(recordings: tuple[Recording, ...]):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}"), ping_interval_s=1) as gateway:

        async def has_tried() -> bool:
            return (await gateway.metrics())["stt_gateway_upstream_retries_total"] > 0

        speaking = asyncio.create_task(speak(gateway, recordings[0]))
        # At first there is no server, then one that is still loading its model.
        await become(has_tried, lambda: "the gateway has not tried", patience_s=60)
        async with start_service(port):
            ended = await speaking
    assert ended.messages[-1]["transcript"].split() == recordings[0].text.split()
    assert ended.code == 1000
    assert "ping" in ended.kinds


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_and_comes_back(recordings: tuple[Recording, ...]):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        async with start_service(port) as service:
            assert (await speak(gateway, recordings[0])).text.split() == recordings[0].text.split()
            service.process.kill()
        speaking = [asyncio.create_task(speak(gateway, recording)) for recording in recordings[1:4]]
        await asyncio.sleep(OUTAGE_S)
        async with start_service(port):
            ended = await asyncio.gather(*speaking)
    for one, recording in zip(ended, recordings[1:4], strict=True):
        assert one.text.split() == recording.text.split()
        assert one.code == 1000


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_server_that_is_restarted_under_its_callers(
    recordings: tuple[Recording, ...], number: signal.Signals
):
    """At once, or in order: documented clients in the middle of a word lose none."""
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        async with start_service(port) as service:
            speaking = [asyncio.create_task(speak(gateway, each)) for each in recordings[:4]]

            async def has_heard() -> bool:
                metrics = await gateway.metrics()
                return metrics.get("stt_gateway_messages_total{type=token}", 0) >= 8

            await become(has_heard, lambda: "nobody was heard", patience_s=60)
            service.process.send_signal(number)
            await asyncio.to_thread(service.process.wait)
        async with start_service(port):
            ended = await asyncio.gather(*speaking)
        metrics = await gateway.metrics()
    for one, recording in zip(ended, recordings[:4], strict=True):
        assert one.text.split() == recording.text.split()
        assert one.code == 1000
    assert metrics["stt_gateway_replays_total"] >= 1
