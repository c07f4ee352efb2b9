"""The library against the real server, over both protocols."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from client.audio import ArraySource, AudioError, FileSource
from client.blocking import BlockingSttClient
from client.options import SAMPLE_RATE_HERTZ, Encoding, FloatArray, SessionOptions
from client.rpc.errors import Idle, InvalidRequest, ServerFull, ServerUnreachable, Unauthenticated
from client.rpc.events import Event, Final, Flushed, Pause, Ready, Token, Word
from client.stream import Patience, SttClient, WebSocketSttClient
from tests.support import MODEL_RATE_HERTZ, Recording, Service, run_service
from tests.unit.client.rpc.http2_edge import HttpEdge

PROTOCOLS = ["grpc", "websocket"]
Client = SttClient | WebSocketSttClient


def make_client(service: Service, protocol: str, patience: Patience | None = None) -> Client:
    if protocol == "grpc":
        return SttClient(service.grpc, patience=patience)
    return WebSocketSttClient(service.websocket_url, patience=patience)


async def collect(events: AsyncIterator[Event]) -> list[Event]:
    return [event async for event in events]


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_file_is_transcribed(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    async with make_client(service, protocol) as client:
        final = await client.transcribe_file(beginnings[0].path)

    assert final.transcript.split() == beginnings[0].text.split()
    assert [word.text for word in final.words] == beginnings[0].text.split()
    assert final.audio_duration_s == pytest.approx(
        len(beginnings[0].samples()) / MODEL_RATE_HERTZ, abs=0.01
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_events_come_in_order_and_join_to_the_transcript(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    async with make_client(service, protocol) as client:
        events = await collect(aiter(client.stream(ArraySource(beginnings[1].samples()))))

    assert isinstance(events[0], Ready)
    assert events[0].delay_s == 0.5
    assert events[0].frame_samples == 1_920
    final = events[-1]
    assert isinstance(final, Final)
    tokens = [event for event in events if isinstance(event, Token)]
    assert "".join(token.text for token in tokens) == final.transcript
    assert [event for event in events if isinstance(event, Word)] == list(final.words)
    assert [token.start_s for token in tokens] == sorted(token.start_s for token in tokens)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_only_what_was_asked_for_comes(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    options = SessionOptions(words=False, pauses=False, encoding=Encoding.PCM_S16LE)
    silence = np.zeros(3 * SAMPLE_RATE_HERTZ, np.float32)
    audio = np.concatenate([beginnings[0].samples(), silence])
    async with make_client(service, protocol) as client:
        asked, default = await asyncio.gather(
            collect(aiter(client.stream(ArraySource(audio), options))),
            collect(aiter(client.stream(ArraySource(audio)))),
        )

    assert {type(event) for event in asked} == {Ready, Token, Final}
    assert any(isinstance(event, Pause) for event in default)
    assert asked[-1].transcript.split() == beginnings[0].text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_flush_brings_every_word_of_the_audio_before_it(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    """The source gives one recording, asks for a flush, waits for it, then gives another."""
    was_flushed = asyncio.Event()

    async def speak() -> AsyncIterator[FloatArray]:
        yield recordings[0].samples()
        await stream.flush("between")
        async with asyncio.timeout(30):
            await was_flushed.wait()
        yield recordings[1].samples()

    heard: list[Event] = []
    async with make_client(service, protocol) as client, client.stream(speak()) as stream:
        async for event in stream:
            heard.append(event)
            if isinstance(event, Flushed):
                assert event.flush_id == "between"
                was_flushed.set()

    [flushed] = [index for index, event in enumerate(heard) if isinstance(event, Flushed)]
    before = "".join(event.text for event in heard[:flushed] if isinstance(event, Token))
    after = "".join(event.text for event in heard[flushed:] if isinstance(event, Token))
    assert before.split() == recordings[0].text.split()
    assert after.split() == recordings[1].text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_words_come_while_the_audio_is_sent(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    source = ArraySource(recordings[0].samples(), pace=1.0)
    async with make_client(service, protocol) as client, client.stream(source) as stream:
        async for event in stream:
            if isinstance(event, Token):
                assert source.position_s < source.duration_s
                break


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_source_that_fails_ends_with_its_words_and_its_error(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    async def fail_after_speech() -> AsyncIterator[FloatArray]:
        yield beginnings[0].samples()
        raise AudioError("The microphone was unplugged.")

    heard: list[Event] = []
    async with make_client(service, protocol) as client:
        with pytest.raises(AudioError, match="unplugged"):
            async for event in client.stream(fail_after_speech()):
                heard.append(event)

    assert isinstance(heard[-1], Final)
    assert heard[-1].transcript.split() == beginnings[0].text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_source_that_falls_silent_ends_with_its_words_and_idle(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    async def fall_silent() -> AsyncIterator[FloatArray]:
        yield beginnings[0].samples()
        await asyncio.Event().wait()

    heard: list[Event] = []
    async with make_client(service, protocol) as client:
        with pytest.raises(Idle):
            options = SessionOptions(idle_timeout_s=1.0)
            async for event in client.stream(fall_silent(), options):
                heard.append(event)

    transcript = "".join(event.text for event in heard if isinstance(event, Token))
    assert transcript.split() == beginnings[0].text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_wrong_audio_is_an_error_that_names_it(service: Service, protocol: str) -> None:
    too_loud = np.full(SAMPLE_RATE_HERTZ, 20_000.0, np.float32)

    async def own_source() -> AsyncIterator[np.ndarray]:
        yield too_loud

    async with make_client(service, protocol) as client:
        with pytest.raises(AudioError, match="int16"):
            await client.transcribe(ArraySource(too_loud))
        # Sources of the caller's own are checked by the service.
        with pytest.raises(InvalidRequest, match="int16"):
            await client.transcribe(own_source())


async def test_a_full_server_is_waited_for_and_then_named(
    recordings: tuple[Recording, ...],
) -> None:
    with run_service("--batch-size", "1") as service:
        for protocol in PROTOCOLS:
            async with (
                make_client(service, protocol, Patience(full_s=0.0)) as impatient,
                make_client(service, protocol) as patient,
                SttClient(service.grpc) as occupant,
                # For longer than the gateway waits for a slot.
                occupant.stream(ArraySource(recordings[0].samples(), pace=1.0)) as occupied,
            ):
                events = aiter(occupied)
                assert isinstance(await anext(events), Ready)
                with pytest.raises(ServerFull) as caught:
                    await impatient.transcribe_file(recordings[1].path)
                assert "slot" in str(caught.value)
                # The slot comes free when the occupant's recording is over.
                waiting = asyncio.create_task(patient.transcribe_file(recordings[1].path))
                async for _ in events:
                    assert not waiting.done()
                final = await waiting
                assert final.transcript.split() == recordings[1].text.split()


async def test_eight_streams_over_both_protocols_get_their_own_words(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    async with (
        make_client(service, "grpc") as over_grpc,
        make_client(service, "websocket") as over_websocket,
    ):
        clients = itertools.cycle([over_grpc, over_websocket])
        finals = await asyncio.gather(
            *(
                client.transcribe_file(recording.path)
                for client, recording in zip(clients, recordings, strict=False)
            )
        )

    for final, recording in zip(finals, recordings, strict=True):
        assert final.transcript.split() == recording.text.split()


async def test_what_is_served(service: Service) -> None:
    async with SttClient(service.grpc) as client:
        info = await client.fetch_server_info()

    assert info.model_name == "digits"
    assert info.slots_total == 8
    assert info.sample_rate_hertz == 24_000


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_nothing_listens(unused_tcp_port: int, protocol: str) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    patience = Patience(unreachable_s=0.3)
    client: Client = (
        SttClient(address, patience=patience)
        if protocol == "grpc"
        else WebSocketSttClient(f"ws://{address}", patience=patience)
    )
    async with client:
        with pytest.raises(ServerUnreachable, match="Nothing answers"):
            await client.transcribe(ArraySource(np.zeros(100, np.float32)))


async def test_refused_credentials_are_named_over_grpc() -> None:
    async with HttpEdge(401) as edge, SttClient(edge.endpoint) as client:
        with pytest.raises(Unauthenticated, match="MODAL_KEY"):
            await client.transcribe(ArraySource(np.zeros(100, np.float32)))


@pytest.mark.parametrize("rate_hertz", [16_000, 44_100])
async def test_any_rate_and_channels_give_the_words(
    service: Service, beginnings: tuple[Recording, ...], tmp_path: Path, rate_hertz: int
) -> None:
    import soxr

    recording = beginnings[1]
    mono = soxr.resample(recording.samples(), MODEL_RATE_HERTZ, rate_hertz)
    path = tmp_path / "stereo.flac"
    soundfile.write(path, np.stack([mono, mono], axis=1), rate_hertz)
    async with SttClient(service.grpc) as client:
        final = await client.transcribe(FileSource(path))

    assert final.transcript.split() == recording.text.split()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_blocking_twin(
    service: Service, beginnings: tuple[Recording, ...], protocol: str
) -> None:
    before = threading.active_count()
    recording = beginnings[0]

    def blocks() -> Iterator[FloatArray]:
        samples = recording.samples()
        for start in itertools.count(0, 1_000):
            if start >= len(samples):
                return
            yield samples[start : start + 1_000]

    with BlockingSttClient(make_client(service, protocol)) as client:
        assert client.transcribe_file(recording.path).transcript.split() == recording.text.split()
        events = list(client.stream(blocks()))
        for event in client.stream(FileSource(recording.path, pace=1.0)):
            if isinstance(event, Token):
                break
        with pytest.raises(AudioError, match="no file"):
            client.transcribe_file("missing.wav")

    assert isinstance(events[0], Ready)
    assert isinstance(events[-1], Final)
    assert events[-1].transcript.split() == recording.text.split()
    # gRPC's own poller thread may have been started by this process's first call.
    assert threading.active_count() <= before + 1
