"""A network that cuts the connection at random points changes nothing in the transcript."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import numpy as np
import pytest

from client.audio import ArraySource
from client.options import SAMPLE_RATE_HERTZ, ReconnectPolicy
from client.rpc.endpoint import Endpoint
from client.rpc.errors import ServerDraining, ServerUnavailable
from client.rpc.events import Event, Final, Flushed, Ready, Reconnected, Token, Word
from client.session import TranscriptStream
from client.stream import SttClient, WebSocketSttClient
from tests.integration.client.cutting_proxy import CuttingProxy
from tests.integration.gateway.harness import free_port, run_gateway
from tests.integration.gateway.stack import run_server
from tests.support import Recording, Service

PROTOCOLS = ["grpc", "websocket"]
# How long the gateway looks for a service that has left, before it tells its client.
GATEWAY_PATIENCE_S = 4.0
# Faster than speech, slow enough that most cuts hit a stream that is not finished.
PACE = 4.0
# Cuts come after so much new audio was heard …
APART_S = (0.2, 2.5)
# … or, once in a while, right into the replay that follows a cut.
CUT_REPLAY_PROBABILITY = 0.25


def make_client(protocol: str, address: str, **settings: object) -> SttClient | WebSocketSttClient:
    if protocol == "grpc":
        return SttClient(address, **settings)
    return WebSocketSttClient(f"ws://{address}", **settings)


def address_of(service: Service, protocol: str) -> str:
    return service.grpc if protocol == "grpc" else service.http


def speak(recordings: tuple[Recording, ...], seconds: float, rng: random.Random) -> np.ndarray:
    """Recordings in random order, at least so long."""
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE_HERTZ:
        parts.append(rng.choice(recordings).samples())
    return np.concatenate(parts)


async def cut_at_random(
    proxy: CuttingProxy, events: TranscriptStream, cuts: int, rng: random.Random
) -> AsyncIterator[Event]:
    """Yield the stream's events while cutting its connection so many times."""
    next_cut_s = rng.uniform(*APART_S)
    async for event in events:
        yield event
        if proxy.cuts < cuts and event.timing.processed_s >= next_cut_s:
            # Anything from an idle moment to the middle of a message.
            await asyncio.sleep(rng.uniform(0.0, 0.1))
            proxy.cut()
            next_cut_s = event.timing.processed_s + rng.uniform(*APART_S)
            if rng.random() < CUT_REPLAY_PROBABILITY:
                next_cut_s = event.timing.processed_s - rng.uniform(0.5, 3.0)


async def transcribe_with_cuts(
    service: Service, protocol: str, audio: np.ndarray, cuts: int, rng: random.Random
) -> tuple[list[Event], int]:
    async with (
        CuttingProxy(address_of(service, protocol)) as proxy,
        make_client(protocol, proxy.address) as client,
        client.stream(ArraySource(audio, pace=PACE)) as stream,
    ):
        told = [event async for event in cut_at_random(proxy, stream, cuts, rng)]
        return told, proxy.cuts


async def assert_cuts_change_nothing(
    service: Service, protocol: str, audio: np.ndarray, cuts: int, rng: random.Random
) -> None:
    async with make_client(protocol, address_of(service, protocol)) as client:
        undisturbed = await client.transcribe(ArraySource(audio))
    told, cuts_made = await transcribe_with_cuts(service, protocol, audio, cuts, rng)
    final = told[-1]

    assert isinstance(final, Final)
    assert final.transcript == undisturbed.transcript
    assert "".join(event.text for event in told if isinstance(event, Token)) == final.transcript
    assert [word.text for word in final.words] == [word.text for word in undisturbed.words]
    for word, undisturbed_word in zip(final.words, undisturbed.words, strict=True):
        assert word.start_s == pytest.approx(undisturbed_word.start_s, abs=0.17)
    assert [event for event in told if isinstance(event, Word)] == list(final.words)
    assert final.audio_duration_s == pytest.approx(undisturbed.audio_duration_s, abs=1e-6)
    assert cuts_made == cuts
    # A cut just after another one may hit the same attempt to connect.
    assert sum(isinstance(event, Reconnected) for event in told) >= cuts // 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_few_cuts_lose_and_double_nothing(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    rng = random.Random(f"quick {protocol}")
    await assert_cuts_change_nothing(service, protocol, speak(recordings, 8.0, rng), 3, rng)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_hundred_cuts_lose_and_double_nothing(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    rng = random.Random(f"slow {protocol}")
    await assert_cuts_change_nothing(service, protocol, speak(recordings, 240.0, rng), 100, rng)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_flush_that_a_cut_swallowed_is_answered_after_it(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    """The flush is asked again at its place in the audio, and answered once."""
    recording = recordings[0]
    words = len(recording.words)
    # Silence after the words keeps the stream open while the flush is under way.
    audio = np.concatenate([recording.samples(), np.zeros(4 * SAMPLE_RATE_HERTZ, np.float32)])
    told: list[Event] = []
    async with (
        CuttingProxy(address_of(service, protocol)) as proxy,
        make_client(protocol, proxy.address) as client,
        client.stream(ArraySource(audio, pace=PACE)) as stream,
    ):
        async for event in stream:
            told.append(event)
            # After the last word: a flush in the middle of a word would cut it in two.
            if isinstance(event, Token) and sum(isinstance(e, Token) for e in told) == words:
                await stream.flush("now")
                proxy.cut()

    flushed = [index for index, event in enumerate(told) if isinstance(event, Flushed)]
    assert len(flushed) == 1
    tokens_before = [e for e in told[: flushed[0]] if isinstance(e, Token)]
    assert len(tokens_before) == words
    assert isinstance(told[-1], Final)
    assert told[-1].transcript.split() == recording.text.split()


async def test_patience_ends_with_the_reason(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    policy = ReconnectPolicy(patience_s=1.0)
    heard = ""
    with pytest.raises(ServerUnavailable):
        async with (
            CuttingProxy(service.http) as proxy,
            WebSocketSttClient(f"ws://{proxy.address}", reconnect=policy) as client,
            client.stream(ArraySource(recordings[0].samples(), pace=2.0)) as stream,
        ):
            async for event in stream:
                if isinstance(event, Token):
                    heard += event.text
                    proxy.is_refusing = True
                    proxy.cut()
    assert heard.split() == recordings[0].text.split()[:1]


async def test_without_reconnection_a_cut_is_an_error(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    async with (
        CuttingProxy(service.grpc) as proxy,
        SttClient(proxy.address, reconnect=ReconnectPolicy(enabled=False)) as client,
    ):
        with pytest.raises(ServerUnavailable):
            async with contextlib.aclosing(
                client.stream(ArraySource(recordings[0].samples(), pace=1.0))
            ) as stream:
                async for event in stream:
                    if isinstance(event, Token):
                        proxy.cut()


async def read_all(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


@contextlib.asynccontextmanager
async def client_of(
    protocol: str, port: int, **settings: object
) -> AsyncIterator[SttClient | WebSocketSttClient]:
    """A client of the service at this port, which may restart; perhaps through a gateway."""
    async with contextlib.AsyncExitStack() as stack:
        address = f"127.0.0.1:{port}"
        if protocol == "websocket":
            gateway = run_gateway(Endpoint("127.0.0.1", port), patience_s=GATEWAY_PATIENCE_S)
            address = (await stack.enter_async_context(gateway)).http
        yield await stack.enter_async_context(make_client(protocol, address, **settings))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_server_that_drains_in_the_middle_loses_no_audio(protocol: str) -> None:
    """It sends `final` for what it has heard, which is not the end of what there is."""
    port, drained = free_port(), asyncio.Event()
    half = np.zeros(2 * SAMPLE_RATE_HERTZ, np.float32)

    async def source() -> AsyncIterator[np.ndarray]:
        yield half
        await drained.wait()
        yield half

    async with client_of(protocol, port) as client:
        async with run_server(port=port):
            events = aiter(client.stream(source()))
            assert isinstance(await anext(events), Ready)
            rest = asyncio.create_task(read_all(events))
        drained.set()
        async with run_server(port=port):
            told = await rest

    # Over WebSocket the gateway replays, and its client need not.
    assert any(isinstance(event, Reconnected) for event in told) == (protocol == "grpc")
    [final] = [event for event in told if isinstance(event, Final)]
    assert final is told[-1]
    assert final.audio_duration_s == 4.0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_without_reconnection_a_drain_gives_what_was_heard(
    protocol: str,
) -> None:
    """What the server has heard is the last that comes, before the reason."""
    port = free_port()
    told: list[Event] = []
    heard = np.zeros(2 * SAMPLE_RATE_HERTZ, np.float32)

    async def source() -> AsyncIterator[np.ndarray]:
        yield heard
        await asyncio.Event().wait()

    policy = ReconnectPolicy(enabled=False)
    async with client_of(protocol, port, reconnect=policy) as client:
        async with run_server(port=port):
            events = aiter(client.stream(source()))
            assert isinstance(await anext(events), Ready)

            async def read() -> None:
                async for event in events:
                    told.append(event)

            rest = asyncio.create_task(read())
        with pytest.raises(ServerDraining):
            await rest
    assert isinstance(told[-1], Final)
    assert sum(isinstance(event, Final) for event in told) == 1
