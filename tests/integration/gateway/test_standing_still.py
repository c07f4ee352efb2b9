"""A gateway that stands still for longer than a session may be silent: nobody was silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import Ended, RunningGateway, read_to_close, read_until
from tests.integration.gateway.test_process import start_gateway
from tests.interleaving import become
from tests.support import Recording, Service, run_service, stopped

END = '{"type":"end"}'
FRAME_BYTES = 1920 * 4
FRAME_S = 0.08
SLOTS = 8
BEFORE_STOP = 22
"""Frames. A word in which the audio breaks off is told as far as it was heard, after a second; here
the model takes none of them for another."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Service]:
    """A server whose gateway is another process, which the tests stop."""
    with run_service("--no-gateway") as service:
        yield service


class LiveClient:
    """A documented client that speaks in real time, whatever happens to the gateway."""

    def __init__(self, recording: Recording) -> None:
        self._audio = recording.pcm_f32le()
        self.sent = 0

    async def speak(self, gateway: RunningGateway, query: str) -> Ended:
        """Send all of the recording, then `end`; what came of it."""
        async with gateway.connect(query) as websocket:
            reading = asyncio.create_task(read_to_close(websocket))
            started_s = asyncio.get_running_loop().time()
            for start in range(0, len(self._audio), FRAME_BYTES):
                due_s = started_s + self.sent * FRAME_S
                await asyncio.sleep(due_s - asyncio.get_running_loop().time())
                await websocket.send(self._audio[start : start + FRAME_BYTES])
                self.sent += 1
            await websocket.send(END)
            return await reading


@pytest.mark.parametrize(
    ("idle_s", "stopped_s"),
    [(1, 2.5), pytest.param(10, 15.0, marks=pytest.mark.slow)],
)
async def test_a_gateway_that_was_stopped_loses_nothing_that_was_sent(
    upstream: Service, recordings: tuple[Recording, ...], idle_s: int, stopped_s: float
):
    """The service has ended all calls as idle, while audio lay in the gateway's sockets."""
    clients = [LiveClient(recording) for recording in recordings[:SLOTS]]
    async with start_gateway(Endpoint.parse(upstream.grpc)) as gateway:
        running = RunningGateway(gateway.http)
        query = f"?events=final&idle_timeout={idle_s}"
        tasks = [asyncio.create_task(client.speak(running, query)) for client in clients]
        await become(
            lambda: all(client.sent >= BEFORE_STOP for client in clients),
            lambda: "nothing is sent",
            patience_s=30,
        )
        with stopped(gateway.process.pid):
            await asyncio.sleep(stopped_s)
        all_ended = await asyncio.wait_for(asyncio.gather(*tasks), 60)
        metrics = await running.metrics()
    for ended, recording in zip(all_ended, recordings, strict=False):
        assert (ended.code, ended.reason) == (1000, "")
        assert ended.messages[-1]["transcript"].split() == recording.text.split()
    # None that had not said all before.
    assert metrics["stt_gateway_replays_total"] == SLOTS


async def test_who_is_silent_is_idle_although_the_gateway_was_stopped(upstream: Service):
    async with start_gateway(Endpoint.parse(upstream.grpc)) as gateway:
        running = RunningGateway(gateway.http)
        async with running.connect("?events=ready&idle_timeout=1") as websocket:
            await read_until(websocket, "ready")
            with stopped(gateway.process.pid):
                await asyncio.sleep(1.5)
            ended = await asyncio.wait_for(read_to_close(websocket), 20)
    assert (ended.code, ended.reason) == (1000, "idle")
