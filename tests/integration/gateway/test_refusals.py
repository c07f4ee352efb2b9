"""Sessions that are refused, or broken off: what their clients are told."""

import contextlib
import json
from collections.abc import AsyncIterator

import grpc
import pytest
import websockets

from gateway.inbox import CHUNK_BYTES
from tests.integration.gateway.harness import (
    Refusal,
    RunningGateway,
    ScriptedService,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)

END = json.dumps({"type": "end"})
MIB = 1024 * 1024


@pytest.fixture
async def gateway(scripted: ScriptedService) -> AsyncIterator[RunningGateway]:
    async with (
        run_scripted(scripted) as endpoint,
        run_gateway(endpoint, patience_s=5, buffer_bytes=MIB, ping_interval_s=0.1) as gateway,
    ):
        yield gateway


REFUSED_AT_THE_DOOR = [
    (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no such rate", "INVALID_REQUEST"), 1008),
    (
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "all 8 slots are taken", "NO_FREE_SLOT", 1.0),
        1013,
    ),
    (Refusal(grpc.StatusCode.UNAUTHENTICATED, "wrong key"), 1011),
]
ENDED_IN_THE_MIDDLE = [
    (Refusal(grpc.StatusCode.INVALID_ARGUMENT, "sample is not finite", "INVALID_AUDIO"), 1007),
    (Refusal(grpc.StatusCode.INTERNAL, "the model thread died", "ENGINE_DIED"), 1011),
    (Refusal(grpc.StatusCode.UNAVAILABLE, "connection lost"), 1013),
    (Refusal(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", "DRAINING", 1.0), 1012),
]


class TestErrors:
    @pytest.mark.parametrize(
        ("refusal", "code"), REFUSED_AT_THE_DOOR, ids=lambda value: getattr(value, "text", None)
    )
    async def test_refused_at_the_door(
        self, gateway: RunningGateway, scripted: ScriptedService, refusal: Refusal, code: int
    ):
        scripted.refuse = [refusal]
        async with gateway.connect() as websocket:
            ended = await read_to_close(websocket)
        assert refusal.text in ended.error
        assert ended.code == code
        assert scripted.refuse == scripted.calls == [], "it was asked once"

    async def test_a_passing_fault_at_the_door_is_survived(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        scripted.refuse = [
            Refusal(grpc.StatusCode.UNAVAILABLE, "the model is still loading", "WARMING_UP", 0.1),
            Refusal(grpc.StatusCode.INTERNAL, "RST_STREAM"),
        ]
        async with gateway.connect("?events=final") as websocket:
            await websocket.send(b"said while waiting")
            await websocket.send(END)
            ended = await read_to_close(websocket)
        assert ended.code == 1000
        assert bytes(scripted.calls[0].audio) == b"said while waiting"
        assert "ping" in ended.kinds
        assert (await gateway.metrics())["stt_gateway_upstream_retries_total"] == 2

    @pytest.mark.parametrize(
        ("failure", "code"), ENDED_IN_THE_MIDDLE, ids=lambda value: getattr(value, "text", None)
    )
    async def test_the_reason_survives_while_the_client_sends_on(
        self, gateway: RunningGateway, scripted: ScriptedService, failure: Refusal, code: int
    ):
        scripted.failure, scripted.fail_after_bytes = failure, 3 * CHUNK_BYTES
        # Some of these are replayed first.
        for _ in range(5):
            async with gateway.connect() as websocket:
                # The gateway closes in the middle of the message.
                with contextlib.suppress(websockets.ConnectionClosed):
                    await websocket.send(bytes(64 * CHUNK_BYTES))
                ended = await read_to_close(websocket)
            assert failure.text in ended.error
            assert ended.code == code

    async def test_idle_is_no_error(self, gateway: RunningGateway, scripted: ScriptedService):
        scripted.failure = Refusal(
            grpc.StatusCode.DEADLINE_EXCEEDED, "no audio for 10 s", "IDLE_TIMEOUT"
        )
        async with gateway.connect() as websocket:
            await websocket.send(b"abcd")
            ended = await read_to_close(websocket)
        assert (ended.code, ended.reason, ended.kinds) == (1000, "idle", [])

    async def test_a_service_that_dies_in_the_middle(self, scripted: ScriptedService):
        async with run_scripted(scripted) as endpoint:
            gateway_context = run_gateway(endpoint, patience_s=0.5)
            gateway = await gateway_context.__aenter__()
            websocket = await gateway.connect()
            await websocket.send(b"abcd")
            await read_until(websocket, "token")
        ended = await read_to_close(websocket)
        await gateway_context.__aexit__(None, None, None)
        assert ended.code == 1013
        assert ended.error

    async def test_a_large_message_is_refused(self, scripted: ScriptedService):
        async with (
            run_scripted(scripted) as endpoint,
            run_gateway(endpoint, max_message_bytes=MIB) as gateway,
        ):
            for size in (MIB + 1, 16 * MIB):
                async with gateway.connect() as websocket:
                    with contextlib.suppress(websockets.ConnectionClosed):
                        await websocket.send(bytes(size))
                    ended = await read_to_close(websocket)
                assert "1,048,576" in ended.error
                assert ended.code == 1009

    @pytest.mark.parametrize("query", ["?encoding=mp3", "?sample_rate=7", "?speed=2", "?events=x"])
    async def test_a_query_that_is_not_understood(
        self, gateway: RunningGateway, scripted: ScriptedService, query: str
    ):
        async with gateway.connect(query) as websocket:
            ended = await read_to_close(websocket)
        assert ended.error
        assert ended.code == 1008
        assert scripted.calls == []

    async def test_a_command_that_is_not_understood(self, gateway: RunningGateway):
        async with gateway.connect() as websocket:
            await websocket.send('{"type":"stop"}')
            ended = await read_to_close(websocket)
        assert '"stop"' in ended.error
        assert ended.code == 1008


class TestOrigin:
    async def test_a_page_of_another_origin_is_refused_before_the_accept(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        with pytest.raises(websockets.InvalidStatus) as raised:
            await gateway.connect(origin="https://evil.example")
        assert raised.value.response.status_code == 403
        assert b"--allow-origin" in (raised.value.response.body or b"")
        assert scripted.calls == []
        metrics = await gateway.metrics()
        assert metrics["stt_gateway_refused_total{reason=origin}"] == 1

    async def test_our_own_page_and_listed_ones_are_welcome(self, scripted: ScriptedService):
        friend = "https://friend.example"
        async with (
            run_scripted(scripted) as endpoint,
            run_gateway(endpoint, allow_origins=frozenset({friend})) as gateway,
        ):
            for origin in (f"http://{gateway.http}", friend):
                async with gateway.connect("?events=ready", origin=origin) as websocket:
                    await read_until(websocket, "ready")
