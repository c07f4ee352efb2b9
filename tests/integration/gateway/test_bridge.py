"""The bridge with a scripted service: forwarding, backpressure, and clients that leave."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.inbox import CHUNK_BYTES
from stt.v1 import stt_pb2
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become

END = json.dumps({"type": "end"})
MIB = 1024 * 1024


@pytest.fixture
async def gateway(scripted: ScriptedService) -> AsyncIterator[RunningGateway]:
    async with (
        run_scripted(scripted) as endpoint,
        run_gateway(endpoint, patience_s=5, buffer_bytes=MIB, ping_interval_s=0.1) as gateway,
    ):
        yield gateway


class TestCarrying:
    async def test_audio_and_commands_keep_their_order(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async with gateway.connect("?events=flushed,final") as websocket:
            await websocket.send(b"abc")
            await websocket.send('{"type":"flush","flush_id":"one"}')
            assert (await read_until(websocket, "flushed"))["flush_id"] == "one"
            await websocket.send(b"defg")
            await websocket.send(b"")
            await websocket.send(END)
            await websocket.send(b"too late")
            ended = await read_to_close(websocket)
        assert bytes(scripted.calls[0].audio) == b"abcdefg"
        assert scripted.calls[0].flush_ids == ["one"]
        assert ended.messages[-1] == {
            "type": "final",
            "transcript": " 7",
            "words": [],
            "audio_duration": 0.0,
        }
        assert (ended.code, ended.reason) == (1000, "")

    async def test_a_whole_file_in_one_message_travels_in_chunks(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        audio = bytes(range(256)) * (40 * 1024)
        async with gateway.connect() as websocket:
            await websocket.send(audio)
            await websocket.send(END)
            ended = await read_to_close(websocket)
        assert ended.code == 1000
        assert bytes(scripted.calls[0].audio) == audio
        assert max(scripted.calls[0].pieces) == CHUNK_BYTES

    async def test_what_was_asked_for_reaches_the_service(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        query = "?events=word&encoding=pcm_s16le&sample_rate=16000&idle_timeout=2.5"
        async with gateway.connect(query) as websocket:
            await websocket.send(END)
            await read_to_close(websocket)
        config = scripted.calls[0].config
        assert config.encoding == stt_pb2.ENCODING_PCM_S16LE
        assert config.sample_rate_hertz == 16000
        assert config.idle_timeout.ToMilliseconds() == 2500
        assert set(config.events) == {
            stt_pb2.OPTIONAL_EVENT_WORD,
            stt_pb2.OPTIONAL_EVENT_VAD_END,
            stt_pb2.OPTIONAL_EVENT_PING,
        }

    async def test_sixteen_sessions_do_not_mix(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async def talk(number: int) -> str:
            async with gateway.connect("?events=final") as websocket:
                for _ in range(20):
                    await websocket.send(bytes([number]) * (number + 1))
                await websocket.send(END)
                ended = await read_to_close(websocket)
                return ended.messages[-1]["transcript"]

        transcripts = await asyncio.gather(*(talk(number) for number in range(16)))
        assert transcripts == [f" {20 * (number + 1)}" for number in range(16)]
        assert all(len(set(call.audio)) == 1 for call in scripted.calls)


class TestBackpressure:
    async def test_a_service_that_takes_no_audio_stops_its_client_and_no_other(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        scripted.holding = True
        sent = 0
        async with gateway.connect("?events=ready,final") as websocket:

            async def send() -> None:
                nonlocal sent
                for number in range(1024):
                    await websocket.send(number.to_bytes(2, "little") * (CHUNK_BYTES // 2))
                    sent += 1
                await websocket.send(END)

            sending = asyncio.create_task(send())
            await read_until(websocket, "ready")
            scripted.holding = False

            async def serve_another() -> None:
                async with gateway.connect("?events=final") as other:
                    await other.send(bytes(4 * MIB))
                    await other.send(END)
                    ended = await read_to_close(other)
                assert ended.messages[-1]["transcript"] == f" {4 * MIB}"

            # Both share one HTTP/2 connection; a blocked session must not block the other.
            await stand_still(lambda: sent, serve_another)
            # One MiB in the inbox, the rest in sockets and HTTP/2 windows.
            assert sent * CHUNK_BYTES < 24 * MIB
            scripted.release.set()
            ended = await read_to_close(websocket)
            await sending
        assert ended.messages[-1]["transcript"] == f" {1024 * CHUNK_BYTES}"
        audio = bytes(scripted.calls[0].audio)
        starts = [audio[at : at + 2] for at in range(0, len(audio), CHUNK_BYTES)]
        assert starts == [number.to_bytes(2, "little") for number in range(1024)]

    async def test_a_client_that_takes_no_messages_stops_the_service(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        scripted.babble = "x" * CHUNK_BYTES
        async with gateway.connect(max_queue=1) as websocket:

            async def ask_the_service() -> None:
                for _ in range(10):
                    assert (await gateway.get("/v1/info")).status_code == 200

            await stand_still(lambda: scripted.babbled, ask_the_service)
            assert scripted.babbled * CHUNK_BYTES < 48 * MIB
            scripted.babble = None
            await websocket.send(END)
            ended = await read_to_close(websocket)
        assert ended.kinds.count("token") == scripted.babbled
        assert ended.code == 1000


class TestLeaving:
    async def test_a_client_that_closes_ends_the_call_at_once(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async with gateway.connect() as websocket:
            await websocket.send(b"abcd")
            await read_until(websocket, "token")
        async with asyncio.timeout(1):
            await scripted.calls[0].ended.wait()

    # More than the inbox holds: the gateway has stopped reading when the client leaves.
    @pytest.mark.parametrize("sent_bytes", [MIB // 2, 4 * MIB])
    async def test_a_client_that_vanishes_ends_the_call_at_once(
        self, gateway: RunningGateway, scripted: ScriptedService, sent_bytes: int
    ):
        scripted.holding = True
        websocket = await gateway.connect("?events=ready")
        await read_until(websocket, "ready")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await websocket.send(bytes(sent_bytes))
        # SO_LINGER of zero makes the close a reset: nothing that was sent is ahead of it.
        websocket.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        websocket.transport.abort()
        async with asyncio.timeout(2):
            await scripted.calls[0].ended.wait()

    async def test_a_client_that_leaves_during_the_wait_is_forgotten(self):
        async with run_gateway(await nowhere(), patience_s=60, ping_interval_s=0.1) as gateway:
            async with gateway.connect() as websocket:
                await read_until(websocket, "ping")
                assert (await gateway.metrics())["stt_gateway_sessions_open"] == 1

            async def is_over() -> bool:
                return (await gateway.metrics())["stt_gateway_sessions_open"] == 0

            await become(is_over, lambda: "the session is still open", patience_s=60)
            metrics = await gateway.metrics()
        assert metrics["stt_gateway_sessions_total{close_code=none,outcome=client_gone}"] == 1


async def stand_still(count: Callable[[], int], meanwhile: Callable[[], Awaitable[None]]) -> None:
    """Wait until the count no longer changes during a round trip of something else."""
    before = -1
    while count() != before:
        before = count()
        await meanwhile()


async def nowhere():
    """The endpoint of a service that has stopped."""
    async with run_scripted(ScriptedService()) as endpoint:
        pass
    return endpoint
