"""Upstream with a real server and engine: a cancelled caller leaves nothing behind."""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.websockets import WebSocket

import client.options
from client.grpc_connection import GrpcConnection
from client.rpc.channel import check_serving, open_channel
from client.rpc.endpoint import Endpoint
from client.rpc.writing import write_request
from gateway.bridge import Bridge
from gateway.client_socket import ClientSocket
from gateway.config import GatewayConfig
from gateway.inbox import Budgets
from gateway.metrics import GatewayMetrics
from gateway.protocols.documented import DOOR
from gateway.sessions import Sessions
from gateway.upstream import Upstream
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.engine.errors import NoFreeSlot
from stt_service.engine.options import SessionOptions
from stt_service.process.logs import get_logger
from stt_service.server import Server
from tests.integration.gateway.harness import free_port
from tests.integration.gateway.stack import SLOTS, count_tasks, run_server
from tests.interleaving import (
    Complaints,
    become,
    interrupt_everywhere,
)

FORGOTTEN_S = 600
QUERY = f"events=ready&idle_timeout={FORGOTTEN_S}"
END = '{"type":"end"}'
REQUEST = stt_pb2.StreamingTranscribeRequest(config=stt_pb2.StreamingConfig())


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with run_server() as server:
        yield server


@pytest.fixture
async def upstream(server: Server) -> AsyncIterator[Upstream]:
    upstream = Upstream(Endpoint.parse(f"127.0.0.1:{server.port}"))
    yield upstream
    await upstream.close()


def make_config() -> stt_pb2.StreamingConfig:
    config = stt_pb2.StreamingConfig()
    config.idle_timeout.FromSeconds(FORGOTTEN_S)
    return config


class Watch:
    """Checks what is left on the server and in this process."""

    def __init__(self, server: Server, slots: int = SLOTS) -> None:
        self._engine = server.engine
        self._slots = slots
        self._complaints = Complaints()
        self._tasks = count_tasks()

    def _new_tasks(self) -> Counter[str]:
        return count_tasks() - self._tasks

    async def nothing_is_left(self, when: str) -> None:
        await become(
            lambda: self._engine.slots_free == self._slots, lambda: f"{when}: a slot is left"
        )
        await become(lambda: not self._new_tasks(), lambda: f"{when}: {self._new_tasks()} are left")
        assert self._complaints.collect() == [], when


class Visitor:
    """A WebSocket as an ASGI server passes it to the gateway; sends `end` at once."""

    def __init__(self, breaks_at: str = "", error: Exception | None = None) -> None:
        self.sent: list[str] = []
        self._breaks_at, self._error = breaks_at, error
        self.accepted = asyncio.Event()
        self.let_in = asyncio.Event()
        self.let_in.set()
        self._says = iter(
            [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": END}]
        )
        scope: dict[str, Any] = {"type": "websocket", "path": "/v1/stream", "headers": []}
        scope |= {"query_string": QUERY.encode(), "client": ("127.0.0.1", 1)}
        scope |= {"server": ("127.0.0.1", 2), "scheme": "ws"}
        self.socket = WebSocket(scope, self._receive, self._send)

    async def _receive(self) -> Any:
        message = next(self._says, None)
        if message is None:
            await asyncio.Event().wait()
        return message

    async def _send(self, message: Any) -> None:
        if message["type"] == self._breaks_at and self._error is not None:
            raise self._error
        self.sent.append(message["type"])
        if message["type"] == "websocket.accept":
            self.accepted.set()
            await self.let_in.wait()


async def test_admit_leaves_nothing_wherever_it_is_cancelled(server: Server, upstream: Upstream):
    watch = Watch(server)

    async def visit() -> None:
        async with upstream.admit(make_config(), 60, lambda _: None):
            await asyncio.sleep(0)

    assert await interrupt_everywhere(visit, watch.nothing_is_left) > 3


async def test_a_bridge_leaves_nothing_wherever_it_is_cancelled(server: Server, upstream: Upstream):
    config, metrics = GatewayConfig(upstream.endpoint), GatewayMetrics()
    log = get_logger(__name__)
    watch = Watch(server)

    async def converse() -> None:
        visitor = Visitor()
        client = ClientSocket(visitor.socket, DOOR, config, metrics, "visitor")
        await client.accept()
        codec = DOOR.make_codec(client.handshake)
        budgets = Budgets.of(config.max_buffered_bytes)
        bridge = Bridge(client, DOOR, codec, upstream, config, metrics, log, budgets)
        receiving = asyncio.create_task(bridge.receive_messages())
        try:
            assert (await bridge.converse()).outcome == "finished"
        finally:
            receiving.cancel()
            await asyncio.wait([receiving])

    assert await interrupt_everywhere(converse, watch.nothing_is_left) > 1


async def test_a_client_connection_leaves_nothing_wherever_its_opening_is_cancelled(
    server: Server,
):
    endpoint = Endpoint.parse(f"127.0.0.1:{server.port}")
    async with open_channel(endpoint) as channel:
        await check_serving(channel, endpoint)
        watch = Watch(server)

        async def open_and_close() -> None:
            options = client.options.SessionOptions(idle_timeout_s=FORGOTTEN_S)
            connection = await GrpcConnection.open(channel, endpoint, options)
            await connection.aclose()

        assert await interrupt_everywhere(open_and_close, watch.nothing_is_left) > 0


@pytest.mark.parametrize("half_open", [True, False], ids=["no answer", "refused"])
async def test_a_request_that_is_cancelled_cancels_its_call_wherever_it_waits(half_open: bool):
    """Also before there is a connection, when grpc.aio leaves the call to garbage collection."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if half_open else free_port()
        async with open_channel(Endpoint.parse(f"127.0.0.1:{port}")) as channel:
            call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(
                wait_for_ready=True
            )
            writing = asyncio.create_task(write_request(call, REQUEST))
            await asyncio.sleep(0.1)
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
            assert call.cancelled()


@pytest.mark.parametrize("taken", [0, SLOTS], ids=["free", "full"])
async def test_an_engine_leaves_nothing_wherever_an_opening_is_cancelled(
    server: Server, taken: int
):
    engine = server.engine
    options = SessionOptions(idle_timeout_s=FORGOTTEN_S)
    others = [await engine.open_session(options) for _ in range(taken)]
    watch = Watch(server, SLOTS - taken)

    async def open_and_close() -> None:
        with contextlib.suppress(NoFreeSlot):
            (await engine.open_session(options)).close()

    assert await interrupt_everywhere(open_and_close, watch.nothing_is_left) == 1
    for other in others:
        other.close()
    # All slots of the engine can be opened again.
    for session in [await engine.open_session(options) for _ in range(SLOTS)]:
        session.close()


async def test_a_slot_is_taken_from_the_moment_that_it_is_asked_for(server: Server):
    """Between the engine's answer and the caller's next step there is no session yet."""
    engine = server.engine
    opening = asyncio.create_task(engine.open_session(SessionOptions()))
    await asyncio.sleep(0)
    while not opening.done():
        assert engine.slots_free == SLOTS - 1
        await asyncio.sleep(0)
    opening.result().close()


async def test_a_drain_waits_for_a_socket_that_is_just_being_accepted(upstream: Upstream):
    config = GatewayConfig(upstream.endpoint)
    sessions = Sessions(config, upstream, GatewayMetrics())
    visitor = Visitor()
    visitor.let_in.clear()
    serving = asyncio.create_task(sessions.serve(visitor.socket, DOOR))
    await visitor.accepted.wait()
    draining = asyncio.create_task(sessions.drain(grace_s=60))
    await asyncio.sleep(0.05)
    assert not draining.done()
    visitor.let_in.set()
    await asyncio.gather(serving, draining)
    assert visitor.sent == ["websocket.accept", "websocket.send", "websocket.close"]


@pytest.mark.parametrize("breaks_at", ["websocket.accept", "websocket.send", "websocket.close"])
@pytest.mark.parametrize(
    "error", [OSError("gone"), RuntimeError("Unexpected ASGI message")], ids=["gone", "closed"]
)
async def test_a_socket_that_breaks_off_is_told_as_that(
    upstream: Upstream, breaks_at: str, error: Exception, caplog: pytest.LogCaptureFixture
):
    """Servers raise one if the client has left, the other after a close was sent."""
    metrics = GatewayMetrics()
    sessions = Sessions(GatewayConfig(upstream.endpoint), upstream, metrics)
    await sessions.serve(Visitor(breaks_at, error).socket, DOOR)
    outcome = "finished" if breaks_at == "websocket.close" else "client_gone"
    code = "1000" if breaks_at == "websocket.close" else "none"
    labels = {"outcome": outcome, "close_code": code}
    assert metrics.registry.get_sample_value("stt_gateway_sessions_total", labels) == 1
    assert metrics.registry.get_sample_value("stt_gateway_sessions_open") == 0
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
