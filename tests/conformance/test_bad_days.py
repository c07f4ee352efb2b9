"""What users of other people's clients see when the service is full, cold, or killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import websockets.sync.client

from client.rpc.endpoint import Endpoint
from tests.conformance.released import KINDS, Client, Report, find_python, run_client
from tests.conformance.speech import Speech
from tests.integration.gateway.harness import RunningGateway, free_port, run_gateway
from tests.interleaving import become
from tests.support import Service, run_service

pytestmark = [
    pytest.mark.skipif(find_python() is None, reason="not installed: uv run poe conformance"),
    pytest.mark.timeout(300),
]

AT_ONCE = 4
# What a client says of itself where every slot is taken. LiveKit's plugins would connect again
# after a close, and pipecat's have by then.
SAID_WHEN_FULL = {
    "gradium_sdk": "slots are taken",
    "gradium_sdk_file": "slots are taken",
    "openai_sdk": "1013 (try again later) server full",
    "livekit_kyutai": "closing transport",
    "livekit_gradium": "server full",
    "livekit_openai": "status_code=1013, retryable=True, body=msg.data=1013",
    "pipecat_gradium": "slots are taken",
    "pipecat_openai": "connection failed 3 times",
}
# One of each protocol and framework.
PATIENT = ("gradium_sdk", "livekit_openai", "pipecat_gradium")
LIVE = ("livekit_kyutai", *PATIENT)


@pytest.fixture(scope="module")
def full(speech: Speech) -> Iterator[dict[str, Future[Report]]]:
    """What each client says while another one has the only slot."""
    with run_service("--batch-size", "1") as service, ThreadPoolExecutor(AT_ONCE) as pool:
        url = f"{service.websocket_url}?events=ready&idle_timeout=600"
        with websockets.sync.client.connect(url) as holder:
            holder.recv()
            yield {kind: pool.submit(run_client, kind, service.http, speech) for kind in KINDS}
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("kind", KINDS)
def test_full(full: dict[str, Future[Report]], kind: str):
    report = full[kind].result()
    assert report.finals == []
    assert any(SAID_WHEN_FULL[kind] in error for error in report.errors), report


@contextlib.asynccontextmanager
async def serve(*arguments: str) -> AsyncIterator[Service]:
    """stt-serve, started and ended beside the event loop."""
    running = run_service(*arguments)
    service = await asyncio.to_thread(running.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def start_clients(
    kinds: tuple[str, ...], gateway: RunningGateway, speech: Speech
) -> list[asyncio.Future[Report]]:
    """They begin at the same moment."""
    clients = [Client(kind, gateway.http, speech) for kind in kinds]
    for client in clients:
        await asyncio.to_thread(client.wait_until_ready)
    return [asyncio.ensure_future(asyncio.to_thread(client.talk)) for client in clients]


async def wait_for_sessions(gateway: RunningGateway, count: int) -> None:
    async def are_there() -> bool:
        return (await gateway.metrics())["stt_gateway_sessions_open"] >= count

    await become(are_there, lambda: "the clients have not come", patience_s=60)


async def test_a_cold_service_is_waited_for_and_no_word_is_lost(speech: Speech):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        # pipecat waits 20 s for its service to be connected.
        clients = await start_clients(LIVE, gateway, speech)
        await wait_for_sessions(gateway, len(PATIENT))
        async with serve("--grpc", f"127.0.0.1:{port}", "--no-gateway"):
            refused, *reports = await asyncio.gather(*clients)
    # A client of moshi-server has other servers to ask.
    assert refused.finals == []
    for kind, report in zip(PATIENT, reports, strict=True):
        assert report.text == speech.text, (kind, report)


async def test_a_service_that_is_killed_and_starts_again_costs_no_word(speech: Speech):
    port = free_port()
    arguments = ("--grpc", f"127.0.0.1:{port}", "--no-gateway")
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        async with serve(*arguments) as service:
            clients = await start_clients(LIVE, gateway, speech)
            await wait_for_sessions(gateway, len(LIVE))
            # Amidst the first turn of each.
            await become(lambda: has_heard(gateway, len(LIVE)), lambda: "no audio", patience_s=60)
            service.process.kill()
        async with serve(*arguments):
            reports = await asyncio.gather(*clients)
        assert (await gateway.metrics())["stt_gateway_replays_total"] >= len(LIVE)
    for kind, report in zip(LIVE, reports, strict=True):
        assert report.errors == [], (kind, report)
        assert report.text == speech.text, (kind, report)


async def has_heard(gateway: RunningGateway, sessions: int) -> bool:
    """Whether some two seconds of each session have come, at two or four bytes a sample."""
    metrics = await gateway.metrics()
    return metrics["stt_gateway_audio_bytes_total"] > sessions * 2.5 * 24_000 * 2
