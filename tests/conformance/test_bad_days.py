"""What users of other people's clients see when the service is full, cold, or killed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import httpx
import pytest
import soundfile
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
from tests.support import MODEL_RATE_HERTZ, Service, run_service

pytestmark = [
    pytest.mark.skipif(find_python() is None, reason="not installed: uv run poe conformance"),
    pytest.mark.timeout(300),
]

AT_ONCE = 6
SLOTS = str(len(KINDS))
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
def greeting(speech: Speech, tmp_path_factory: pytest.TempPathFactory) -> Speech:
    """The first turn, for clients that need not wait for words."""
    end = round(speech.turn_ends_s[0] * MODEL_RATE_HERTZ)
    path = tmp_path_factory.mktemp("greeting") / "greeting.wav"
    soundfile.write(path, speech.samples[:end], MODEL_RATE_HERTZ, subtype="PCM_16")
    return Speech(speech.samples[:end], path, (), speech.turn_ends_s[:1])


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
    metrics = ("--metrics", "127.0.0.1:0")
    running = run_service("--grpc", address, *metrics, "--no-gateway", "--batch-size", SLOTS)
    service = await asyncio.to_thread(running.__enter__)
    try:
        yield service
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@dataclass
class Company:
    """Clients that talk at once."""

    clients: Clients
    address: str
    speech: Speech
    reports: dict[str, asyncio.Future[Report]] = field(default_factory=dict)
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(len(KINDS)))

    async def begin(self, kinds: Sequence[str]) -> None:
        """They begin at the same moment."""
        await asyncio.to_thread(self.clients.prepare, kinds)
        for kind in kinds:
            talk = partial(self.clients[kind].talk, self.address, self.speech)
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


async def wait_for_tokens(service: Service, count: int) -> None:
    async def were_sent() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://{service.fields['metrics']}/metrics")).text
        (sent,) = re.findall(r"^stt_tokens_total (\S+)", text, re.MULTILINE)
        return float(sent) >= count

    await become(were_sent, lambda: "no text", patience_s=60)


async def test_a_cold_service_is_waited_for_and_no_word_is_lost(clients: Clients, speech: Speech):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        company = Company(clients, gateway.http, speech)
        # pipecat waits 20 s for its service to be connected.
        await company.begin(GATEWAY_KINDS)
        await wait_for_sessions(gateway, len(PATIENT))
        async with serve(port):
            reports = await company.wait()
    assert reports[IMPATIENT].finals == []
    for kind in PATIENT:
        assert reports[kind].text == speech.text, (kind, reports[kind])


async def test_a_service_that_is_killed_and_starts_again_costs_no_word(
    clients: Clients, speech: Speech
):
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        company = Company(clients, gateway.http, speech)
        async with serve(port) as service:
            await company.begin(LIVE)
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


# Riva's clients meet the service itself: there is no gateway that waits, or says again what was
# lost. pipecat's goes on to ask.
UNAVAILABLE = {
    "riva_sdk": "StatusCode.UNAVAILABLE",
    "livekit_nvidia": "StatusCode.UNAVAILABLE",
    "pipecat_nvidia": "stream dropped: gRPC UNAVAILABLE",
}


async def test_a_client_of_riva_is_told_that_nobody_is_there(clients: Clients, greeting: Speech):
    company = Company(clients, f"127.0.0.1:{free_port()}", greeting)
    await company.begin(RIVA_KINDS)
    for kind, report in (await company.wait()).items():
        assert report.finals == report.partials == []
        assert UNAVAILABLE[kind] in " ".join([*report.errors, report.log]), report


async def test_a_client_of_riva_is_told_that_the_service_was_killed(
    clients: Clients, greeting: Speech
):
    port = free_port()
    async with serve(port) as service:
        company = Company(clients, f"127.0.0.1:{port}", greeting)
        await company.begin(RIVA_KINDS)
        await wait_for_tokens(service, len(RIVA_KINDS))
        service.process.kill()
        reports = await company.wait()
    for kind, report in reports.items():
        assert report.finals == []
        assert UNAVAILABLE[kind] in " ".join([*report.errors, report.log]), report
