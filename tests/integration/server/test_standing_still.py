"""Something stops for a while: the server, the network, the model."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import (
    Request,
    Response,
    become_free,
    reason,
    request_audio,
    request_config,
    split,
    stream,
    texts,
)
from tests.interleaving import become
from tests.support import Recording, Service, run_service, stopped

BLOCK_S = 0.08
BLOCK_BYTES = 1920 * 4


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A server of one slot, which the tests stop."""
    with run_service("--no-gateway", "--batch-size", "1") as service:
        yield service


@pytest_asyncio.fixture
async def channel(service: Service) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        yield channel


class LiveCall:
    """A caller who speaks in real time, whatever happens to the server."""

    def __init__(self, channel: grpc.aio.Channel, recording: Recording, idle_s: int) -> None:
        self._blocks = split(recording.pcm_f32le(), BLOCK_BYTES)
        self._config = request_config(idle_timeout=Duration(seconds=idle_s))
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        self.call = stub.StreamingTranscribe(self._speak())
        self.sent = 0

    async def _speak(self) -> AsyncIterator[Request]:
        yield self._config
        for block in self._blocks:
            yield request_audio(block)
            self.sent += 1
            await asyncio.sleep(BLOCK_S)

    async def read(self) -> list[Response]:
        return [response async for response in self.call]


async def wait_for_room(channel: grpc.aio.Channel) -> None:
    """Until the call of the test before has given its slot back."""
    await become_free(channel, 1, patience_s=20)


@pytest.mark.parametrize(
    ("idle_s", "stopped_s"),
    [(1, 2.5), pytest.param(10, 15.0, marks=pytest.mark.slow)],
)
async def test_a_server_that_was_stopped_hears_all_that_was_sent(
    service, channel, beginnings, idle_s: int, stopped_s: float
) -> None:
    await wait_for_room(channel)
    live = LiveCall(channel, beginnings[0], idle_s)
    reading = asyncio.create_task(live.read())
    await become(lambda: live.sent >= 10, lambda: "nothing is sent", patience_s=30)
    with stopped(service.process.pid):
        await asyncio.sleep(stopped_s)
    responses = await asyncio.wait_for(reading, 60)
    assert responses[-1].HasField("final")
    assert texts(responses).strip() == beginnings[0].text


class StallingNetwork:
    """Forwards TCP to `upstream` ("host:port"), and nothing at all while it is told to stall."""

    def __init__(self, upstream: str) -> None:
        host, port = upstream.rsplit(":", 1)
        self._upstream = (host, int(port))
        self.flows = asyncio.Event()
        self.flows.set()

    async def __aenter__(self) -> "StallingNetwork":
        self._tasks: list[asyncio.Task[None]] = []
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._upstream)
        for ends in ((reader, up_writer), (up_reader, writer)):
            self._tasks.append(asyncio.create_task(self._forward(*ends)))

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65_536):
                await self.flows.wait()
                writer.write(data)
                await writer.drain()


@pytest.mark.slow
async def test_a_call_with_a_longer_idle_timeout_outlives_a_network_that_stands_still(
    service, channel, beginnings
) -> None:
    await wait_for_room(channel)
    async with (
        StallingNetwork(service.grpc) as network,
        grpc.aio.insecure_channel(network.address) as stalling,
    ):
        live = LiveCall(stalling, beginnings[0], idle_s=60)
        reading = asyncio.create_task(live.read())
        await become(lambda: live.sent >= 10, lambda: "nothing is sent", patience_s=30)
        network.flows.clear()
        await asyncio.sleep(15)
        network.flows.set()
        responses = await asyncio.wait_for(reading, 60)
    assert responses[-1].HasField("final")
    assert texts(responses).strip() == beginnings[0].text


async def test_who_is_silent_is_idle_although_the_server_was_stopped(service, channel) -> None:
    await wait_for_room(channel)
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
    await call.write(request_config(idle_timeout=Duration(seconds=1)))
    assert (await call.read()).HasField("ready")
    with stopped(service.process.pid):
        await asyncio.sleep(1.5)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        async with asyncio.timeout(20):
            while await call.read() is not grpc.aio.EOF:
                pass
    assert reason(ended.value) == "IDLE_TIMEOUT"


async def test_a_call_that_waits_for_a_slot_is_served_in_its_turn(channel) -> None:
    await wait_for_room(channel)
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    first = stub.StreamingTranscribe()
    await first.write(request_config())
    assert (await first.read()).HasField("ready")
    second = stub.StreamingTranscribe()
    await second.write(request_config(wait_for_slot=Duration(seconds=30)))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stream(channel, [request_config(wait_for_slot=Duration(nanos=10**8))])
    assert reason(refused.value) == "NO_FREE_SLOT"
    first.cancel()
    assert (await asyncio.wait_for(second.read(), 10)).HasField("ready")
    second.cancel()
    recording = stt_pb2.TranscribeRequest(
        config=stt_pb2.StreamingConfig(wait_for_slot=Duration(seconds=30))
    )
    assert (await stub.Transcribe(recording)).transcript == ""
