"""A network that forwards nothing for a while costs no word, though the session ends as idle."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from client.audio import ArraySource, FileSource
from client.options import SAMPLE_RATE_HERTZ, FloatArray, SessionOptions
from client.rpc.errors import Idle
from client.rpc.events import Event, Final, Reconnected, Token, Word
from client.stream import SttClient
from client.transcribe.live import options_for
from tests.integration.client.cutting_proxy import CuttingProxy
from tests.integration.client.test_reconnect import PROTOCOLS, address_of, make_client, speak
from tests.support import Recording, Service

# Well above the time after which the service flushes, and below that of its patience.
STALL_S = 3.0
BYTES_PER_SECOND = 4 * SAMPLE_RATE_HERTZ


async def wait_until_idle(service: Service) -> None:
    """Until the service has ended all sessions, asked past the network that stalls."""
    async with SttClient(service.grpc) as client, asyncio.timeout(60):
        while True:
            info = await client.fetch_server_info()
            if info.slots_free == info.slots_total:
                return
            await asyncio.sleep(0.05)


async def wait_for_bytes(proxy: CuttingProxy, count: float) -> None:
    async with asyncio.timeout(30):
        while proxy.sent_bytes < count:  # noqa: ASYNC110 - sockets tell nobody what they hold
            await asyncio.sleep(0.02)


def words_of(told: list[Event]) -> list[str]:
    """The words of the one final event, which everything else agrees with."""
    [final] = [event for event in told if isinstance(event, Final)]
    assert final is told[-1]
    assert "".join(event.text for event in told if isinstance(event, Token)) == final.transcript
    assert [event for event in told if isinstance(event, Word)] == list(final.words)
    return [word.text for word in final.words]


@pytest.mark.parametrize("is_ended", [False, True], ids=["live", "ended"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_stall_in_the_middle_of_a_word_loses_none(
    service: Service, recordings: tuple[Recording, ...], protocol: str, is_ended: bool
) -> None:
    """Whether the source goes on after the stall, or has ended in it: nothing of it got through."""
    recording = recordings[0]
    word = recording.words[3]
    stall_at = round((word.start_s + word.end_s) / 2 * SAMPLE_RATE_HERTZ)
    samples = recording.samples()

    async with CuttingProxy(address_of(service, protocol)) as proxy:
        is_admitted = asyncio.Event()

        async def source() -> AsyncIterator[FloatArray]:
            yield samples[:stall_at]
            await is_admitted.wait()
            await wait_for_bytes(proxy, 4 * stall_at)
            proxy.stall()
            if is_ended:
                yield samples[stall_at:]
                return
            await wait_until_idle(service)
            yield samples[stall_at:]
            proxy.resume()

        async def resume_once_idle() -> None:
            await is_admitted.wait()
            await wait_until_idle(service)
            proxy.resume()

        told: list[Event] = []
        async with make_client(protocol, proxy.address) as client, asyncio.TaskGroup() as tasks:
            if is_ended:
                tasks.create_task(resume_once_idle())
            options = SessionOptions(idle_timeout_s=0.5)
            async with client.stream(source(), options) as stream:
                async for event in stream:
                    told.append(event)
                    is_admitted.set()

    assert words_of(told) == recording.text.split()
    [reconnected] = [event for event in told if isinstance(event, Reconnected)]
    assert "idle" in reconnected.reason or "no audio" in reconnected.reason


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_source_that_rests_for_too_long_is_idle(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    """There is nothing to send again: the transcript comes, then the reason."""
    is_over = asyncio.Event()

    async def source() -> AsyncIterator[FloatArray]:
        yield beginnings[0].samples()
        await is_over.wait()

    told: list[Event] = []
    async with make_client(protocol, address_of(service, protocol)) as client:
        with pytest.raises(Idle):
            async for event in client.stream(source(), SessionOptions(idle_timeout_s=0.5)):
                told.append(event)
    assert words_of(told) == beginnings[0].text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_short_stall_does_not_cut_a_word_of_a_source_that_never_pauses(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    """With the options of stt-transcribe; the service's own timeout for a flush is 0.5 s."""
    recording = recordings[1]
    word, samples = recording.words[3], recording.samples()
    stall_at = round((word.start_s + word.end_s) / 2 * SAMPLE_RATE_HERTZ)
    is_admitted = asyncio.Event()

    async with CuttingProxy(address_of(service, protocol)) as proxy:

        async def source() -> AsyncIterator[FloatArray]:
            yield samples[:stall_at]
            await is_admitted.wait()
            await wait_for_bytes(proxy, 4 * stall_at)
            proxy.stall()
            await asyncio.sleep(STALL_S)
            yield samples[stall_at:]
            proxy.resume()

        options = options_for(FileSource(recording.path))
        async with (
            make_client(protocol, proxy.address) as client,
            client.stream(source(), options) as stream,
        ):
            told: list[Event] = []
            async for event in stream:
                told.append(event)
                is_admitted.set()

    assert words_of(told) == recording.text.split()
    assert not any(isinstance(event, Reconnected) for event in told)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("stall_s", [12.0, 25.0])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_long_stall_loses_no_word_at_the_speed_of_speech(
    service: Service, recordings: tuple[Recording, ...], protocol: str, stall_s: float
) -> None:
    """With the service's own timeouts: it gives up after 10 s."""
    audio = speak(recordings, 40.0, random.Random(f"{protocol} {stall_s}"))
    async with make_client(protocol, address_of(service, protocol)) as client:
        undisturbed = await client.transcribe(ArraySource(audio))
    async with CuttingProxy(address_of(service, protocol)) as proxy:

        async def stall() -> None:
            await wait_for_bytes(proxy, 4.0 * BYTES_PER_SECOND)
            proxy.stall()
            await asyncio.sleep(stall_s)
            proxy.resume()

        async with make_client(protocol, proxy.address) as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(stall())
            async with client.stream(ArraySource(audio, pace=1.0)) as stream:
                told = [event async for event in stream]

    assert words_of(told) == [word.text for word in undisturbed.words]
