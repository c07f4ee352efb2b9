"""What users of other people's clients see when the service is full, cold, or killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pytest
import websockets.sync.client

from client.rpc.endpoint import Endpoint
from tests.conformance.released import (
    GATEWAY_KINDS,
    KINDS,
    RIVA_KINDS,
    Clients,
    Report,
    choose_address,
    find_python,
)
from tests.conformance.speech import Speech
from tests.integration.gateway.harness import RunningGateway, free_port, run_gateway
from tests.interleaving import become
from tests.support import Service, run_service

pytestmark = [
    pytest.mark.skipif(find_python() is None, reason="not installed: uv run poe conformance"),
    pytest.mark.timeout(300),
]

AT_ONCE = 6
SLOTS = len(KINDS) + 1
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
    "riva_sdk": "slots are taken",
}
# These say it in their logs alone: pipecat's tries again, LiveKit's does no more.
LOGGED_WHEN_FULL = {
    "livekit_nvidia": "slots are taken",
    "pipecat_nvidia": "stream dropped: gRPC RESOURCE_EXHAUSTED: all 1 slots are taken",
}
# A client of moshi-server has other servers to ask.
IMPATIENT = "livekit_kyutai"
PATIENT = tuple(kind for kind in GATEWAY_KINDS if kind != IMPATIENT)
WHOLE_FILE = "gradium_sdk_file"
LIVE = tuple(kind for kind in GATEWAY_KINDS if kind != WHOLE_FILE)
BYTES_PER_S = 24_000 * 2


@pytest.fixture(scope="module")
def full(clients: Clients, speech: Speech) -> Iterator[dict[str, Future[Report]]]:
    """What each client says while another one has the only slot."""
    # Nobody need wait for words.
    unheard = replace(speech, turns=())
    with run_service("--batch-size", "1") as service, ThreadPoolExecutor(AT_ONCE) as pool:

        def talk(kind: str) -> Report:
            return clients[kind].talk(choose_address(kind, service), unheard)

        url = f"{service.websocket_url}?events=ready&idle_timeout=600"
        with websockets.sync.client.connect(url) as holder:
            holder.recv()
            yield {kind: pool.submit(talk, kind) for kind in KINDS}
            pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("kind", KINDS)
def test_full(full: dict[str, Future[Report]], kind: str):
    report = full[kind].result()
    assert report.finals == []
    if kind in SAID_WHEN_FULL:
        assert any(SAID_WHEN_FULL[kind] in error for error in report.errors), report
    else:
        assert LOGGED_WHEN_FULL[kind] in report.log


@contextlib.asynccontextmanager
async def serve(port: int) -> AsyncIterator[Service]:
    """stt-serve, started and ended beside the event loop."""
    address = f"127.0.0.1:{port}"
    running = run_service("--grpc", address, "--no-gateway", "--batch-size", str(SLOTS))
    service = await asyncio.to_thread(running.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@dataclass
class Company:
    """Clients that talk to a gateway, or to the port of the service behind it."""

    clients: Clients
    gateway: RunningGateway
    port: int
    speech: Speech
    reports: dict[str, asyncio.Future[Report]] = field(default_factory=dict)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(len(KINDS)))

    async def begin(self, kinds: Sequence[str]) -> None:
        """They begin at the same moment."""
        await asyncio.to_thread(self.clients.prepare, kinds)
        for kind in kinds:
            address = f"127.0.0.1:{self.port}" if kind in RIVA_KINDS else self.gateway.http
            talk = partial(self.clients[kind].talk, address, self.speech)
            loop = asyncio.get_running_loop()
            self.reports[kind] = loop.run_in_executor(self.threads, talk)

    async def wait(self) -> dict[str, Report]:
        """What they say at the end."""
        return {kind: await report for kind, report in self.reports.items()}


async def wait_for_sessions(gateway: RunningGateway, count: int) -> None:
    async def are_there() -> bool:
        return (await gateway.metrics())["stt_gateway_sessions_open"] >= count

    await become(are_there, lambda: "the clients have not come", patience_s=60)


async def wait_for_audio(gateway: RunningGateway, count: float) -> None:
    async def has_come() -> bool:
        return (await gateway.metrics())["stt_gateway_audio_bytes_total"] >= count

    await become(has_come, lambda: "no audio", patience_s=60)


async def test_a_cold_service_is_waited_for_and_no_word_is_lost(clients: Clients, speech: Speech):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        company = Company(clients, gateway, port, speech)
        # pipecat waits 20 s for its service to be connected.
        await company.begin(KINDS)
        await wait_for_sessions(gateway, len(PATIENT))
        async with serve(port):
            reports = await company.wait()
    assert reports[IMPATIENT].finals == []
    for kind in PATIENT:
        assert reports[kind].text == speech.text, (kind, reports[kind])
    # gRPC has no gateway that waits for them.
    assert any("UNAVAILABLE" in error for error in reports["riva_sdk"].errors)
    assert "StatusCode.UNAVAILABLE" in reports["livekit_nvidia"].log
    # It connects again when a turn ends, and has kept the audio.
    assert reports["pipecat_nvidia"].text == speech.text, reports["pipecat_nvidia"]


async def test_a_service_that_is_killed_and_starts_again_costs_no_word(
    clients: Clients, speech: Speech
):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        company = Company(clients, gateway, port, speech)
        async with serve(port) as service:
            await company.begin((*LIVE, *RIVA_KINDS))
            # Amidst the first turn of each; at two or four bytes a sample.
            heard_bytes = len(LIVE) * 1.2 * BYTES_PER_S
            await wait_for_audio(gateway, heard_bytes)
            await company.begin([WHOLE_FILE])
            await wait_for_audio(gateway, heard_bytes + len(speech.pcm_s16le))
            service.process.kill()
        async with serve(port):
            reports = await company.wait()
        assert (await gateway.metrics())["stt_gateway_replays_total"] >= len(GATEWAY_KINDS)
    for kind in GATEWAY_KINDS:
        assert reports[kind].errors == [], (kind, reports[kind])
        assert reports[kind].text == speech.text, (kind, reports[kind])
    # gRPC has no gateway that says again what was lost.
    assert any("UNAVAILABLE" in error for error in reports["riva_sdk"].errors)
    assert "StatusCode.UNAVAILABLE" in reports["livekit_nvidia"].log
    assert reports["pipecat_nvidia"].text.endswith(speech.turns[-1]), reports["pipecat_nvidia"]
