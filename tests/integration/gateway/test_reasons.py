"""The reason of each error: the same over both protocols, and only if asked for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
import websockets

from client.grpc_connection import GrpcConnection
from client.options import SessionOptions, VadSettings
from client.rpc.channel import open_channel
from client.rpc.endpoint import Endpoint
from client.rpc.errors import CLASSES, SttError
from client.session import Connection
from client.websocket_connection import WebSocketConnection
from client.websocket_handshake import WebSocketAddress
from stt.v1 import stt_pb2
from stt_service.server import Server
from stt_service.translation import STATUSES
from tests.integration.gateway.harness import (
    Refusal,
    RunningGateway,
    ScriptedService,
    free_port,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.integration.gateway.stack import run_server

MIB = 1024 * 1024
GATEWAY_LIMIT = 8 * MIB
"""Larger messages end the session."""
SAMPLES_ABOVE_BOTH_LIMITS = 17 * MIB // 4
NAMES = [name.removeprefix("ERROR_REASON_") for name in stt_pb2.ErrorReason.keys()[1:]]


class Both:
    """A real service, and a gateway in front of it."""

    def __init__(self, server: Server, gateway: RunningGateway) -> None:
        self.server = server
        self._gateway = gateway
        self._endpoint = Endpoint.parse(f"127.0.0.1:{server.port}")

    @contextlib.asynccontextmanager
    async def open(self, protocol: str, options: SessionOptions) -> AsyncIterator[Connection]:
        """One connection as our own client opens it, without retries."""
        if protocol == "grpc":
            async with open_channel(self._endpoint) as channel:
                connection = await GrpcConnection.open(channel, self._endpoint, options)
                async with contextlib.aclosing(connection):
                    yield connection
        else:
            address = WebSocketAddress.parse(f"ws://{self._gateway.http}")
            connection = await WebSocketConnection.open(address, options)
            async with contextlib.aclosing(connection):
                yield connection


@contextlib.asynccontextmanager
async def run_both(**settings: Any) -> AsyncIterator[Both]:
    async with (
        run_server(**settings) as server,
        run_gateway(
            Endpoint.parse(f"127.0.0.1:{server.port}"),
            patience_s=0.5,
            max_message_bytes=GATEWAY_LIMIT,
        ) as gateway,
    ):
        yield Both(server, gateway)


async def end_of(connection: Connection, audio: Sequence[np.ndarray] = ()) -> SttError:
    """Send, read to the end, and return why it came."""
    with pytest.raises(SttError) as caught:
        events = connection.events()
        with contextlib.suppress(SttError):
            for pcm in audio:
                await connection.send_audio(pcm)
        async for _ in events:
            pass
    return caught.value


@dataclass(frozen=True)
class Case:
    """A real failure, whose reason is the same over both protocols."""

    name: str
    service: dict[str, Any] = field(default_factory=dict)
    options: SessionOptions = field(default_factory=SessionOptions)
    audio: tuple[np.ndarray, ...] = ()


CASES = [
    Case("INVALID_REQUEST", options=SessionOptions(vad=VadSettings(pause_s=9.0))),
    Case("INVALID_AUDIO", audio=(np.full(1920, 20_000, np.float32),)),
    Case("MESSAGE_TOO_LARGE", audio=(np.zeros(SAMPLES_ABOVE_BOTH_LIMITS, np.float32),)),
    Case("WARMING_UP", service={"warm": False}),
    Case("IDLE_TIMEOUT", options=SessionOptions(idle_timeout_s=0.2)),
    Case(
        "ENGINE_DIED",
        service={"dies_after_steps": 1},
        audio=(np.zeros(3 * 1920, np.float32),),
    ),
]


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_session_that_fails_says_why(case: Case, protocol: str) -> None:
    async with (
        run_both(**case.service) as both,
        both.open(protocol, case.options) as connection,
    ):
        error = await end_of(connection, case.audio)

    assert error.reason == case.name
    assert type(error) is CLASSES[case.name]


@pytest.mark.parametrize(
    ("path", "first", "told"),
    [
        ("/api/asr-streaming", None, b"no free channels: The service at "),
        ("/api/speech/asr", '{"type":"setup","input_format":"pcm"}', b"The service at "),
    ],
)
async def test_other_protocols_say_that_the_service_loads_its_model(path, first, told) -> None:
    async with (
        run_server(warm=False) as server,
        run_gateway(Endpoint.parse(f"127.0.0.1:{server.port}"), patience_s=0.5) as gateway,
        websockets.connect(f"ws://{gateway.http}{path}", proxy=None) as websocket,
    ):
        if first is not None:
            await websocket.send(first)
        message = await websocket.recv(decode=False)
        await websocket.wait_closed()
    assert told in message
    assert b"is still loading its model." in message


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_full_service_says_so(protocol: str) -> None:
    async with run_both(slots=1) as both, both.open("grpc", SessionOptions()) as occupant:
        assert await anext(aiter(occupant.events()))
        async with both.open(protocol, SessionOptions()) as connection:
            error = await end_of(connection)

    assert error.reason == "NO_FREE_SLOT"
    assert type(error) is CLASSES["NO_FREE_SLOT"]


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_draining_service_says_so(protocol: str) -> None:
    async with run_both() as both, both.open(protocol, SessionOptions()) as connection:
        events = aiter(connection.events())
        assert await anext(events)
        draining = asyncio.create_task(both.server.drain())
        with pytest.raises(SttError) as caught:
            async for _ in events:
                pass
        await draining

    assert caught.value.reason == "DRAINING"
    assert type(caught.value) is CLASSES["DRAINING"]


CODES = {
    stt_pb2.ErrorReason.Name(reason).removeprefix("ERROR_REASON_"): code
    for _, code, reason in STATUSES
}


@pytest.mark.parametrize("name", NAMES)
async def test_every_reason_of_the_service_passes_through_the_gateway(name: str) -> None:
    scripted = ScriptedService()
    scripted.failure = Refusal(CODES[name], "why", name)
    async with run_scripted(scripted) as endpoint, run_gateway(endpoint) as gateway:
        address = WebSocketAddress.parse(f"ws://{gateway.http}")
        connection = await WebSocketConnection.open(address, SessionOptions())
        async with contextlib.aclosing(connection):
            error = await end_of(connection, (np.zeros(1920, np.float32),))

    assert error.reason == name
    assert type(error) is CLASSES[name]


class TestOfTheGateway:
    """An error of the gateway itself."""

    @pytest.fixture
    async def gateway(self, scripted: ScriptedService) -> AsyncIterator[RunningGateway]:
        async with (
            run_scripted(scripted) as endpoint,
            run_gateway(endpoint, max_message_bytes=MIB) as gateway,
        ):
            yield gateway

    @pytest.mark.parametrize(
        ("query", "message", "reason"),
        [
            ("speed=2", "", "INVALID_REQUEST"),
            ("", '{"type":"stop"}', "INVALID_REQUEST"),
            ("", bytes(MIB + 1), "MESSAGE_TOO_LARGE"),
        ],
        ids=["query", "command", "size"],
    )
    async def test_a_refusal_has_a_name_for_those_who_ask(
        self, gateway: RunningGateway, query: str, message: str | bytes, reason: str
    ) -> None:
        for asks in (False, True):
            asked = f"?{query}&events=ready" if asks else f"?{query}"
            async with gateway.connect(asked) as websocket:
                if message:
                    await websocket.send(message)
                ended = await read_to_close(websocket)
            named = {"reason": reason} if asks else {}
            assert ended.messages[-1] == {"type": "error", "message": ended.error} | named

    async def test_an_error_of_the_service_is_as_documented_for_those_who_do_not_ask(
        self, gateway: RunningGateway, scripted: ScriptedService
    ) -> None:
        scripted.failure = Refusal(grpc.StatusCode.INTERNAL, "the model thread died", "ENGINE_DIED")
        async with gateway.connect() as websocket:
            await websocket.send(bytes(4))
            ended = await read_to_close(websocket)
        assert ended.messages == [{"type": "error", "message": "the model thread died"}]

    @pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.NOT_FOUND])
    async def test_a_service_that_refuses_the_gateway(
        self, gateway: RunningGateway, scripted: ScriptedService, code: grpc.StatusCode
    ) -> None:
        scripted.failure = Refusal(code, "not you")
        async with gateway.connect("?events=ready") as websocket:
            await websocket.send(bytes(4))
            ended = await read_to_close(websocket)
        assert (ended.code, ended.messages[-1]["reason"]) == (1011, "UPSTREAM_REFUSED")

    async def test_a_status_that_nobody_can_explain(
        self, gateway: RunningGateway, scripted: ScriptedService
    ) -> None:
        scripted.failure = Refusal(grpc.StatusCode.DATA_LOSS, "odd")
        async with gateway.connect("?events=ready") as websocket:
            await websocket.send(bytes(4))
            ended = await read_to_close(websocket)
        assert (ended.code, ended.messages[-1]["reason"]) == (1011, "UPSTREAM_FAILED")

    async def test_a_service_that_is_not_there(self) -> None:
        nowhere = Endpoint.parse(f"127.0.0.1:{free_port()}")
        async with (
            run_gateway(nowhere, patience_s=0.2) as gateway,
            gateway.connect("?events=ready") as websocket,
        ):
            ended = await read_to_close(websocket)
        assert (ended.code, ended.messages[-1]["reason"]) == (1013, "UPSTREAM_UNAVAILABLE")

    async def test_a_gateway_that_restarts(self, scripted: ScriptedService) -> None:
        async with run_scripted(scripted) as endpoint:
            async with run_gateway(endpoint) as gateway:
                websocket = await gateway.connect("?events=ready")
                await read_until(websocket, "ready")
            ended = await read_to_close(websocket)
        assert (ended.code, ended.messages[-1]["reason"]) == (1012, "DRAINING")
