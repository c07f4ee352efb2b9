"""Callers who take nothing, or say nothing: they hold no slot, no drain and, gone, no coroutine."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt_service import guard, writing
from stt_service import server as server_module
from stt_service.config import EngineConfig, ServerConfig
from stt_service.server import Server
from stt_service.writing import WRITE_TIMEOUT_S
from tests.integration.engine.harness import load_model
from tests.integration.server.calls import become_free, request_config
from tests.integration.server.raw_http2 import (
    GET_INFO,
    REFLECTION,
    STREAMING,
    TRANSCRIBE,
    WATCH,
    RawConnection,
    connect,
    frame,
)
from tests.interleaving import become
from tests.support import Service, run_service


def compose_config(idle_timeout_s: int) -> bytes:
    config = request_config(idle_timeout=Duration(seconds=idle_timeout_s))
    return frame(config.SerializeToString())


@contextlib.asynccontextmanager
async def run_server() -> AsyncIterator[Server]:
    """In this process, so that its coroutines can be counted, and its limits are short."""
    config = ServerConfig("127.0.0.1:0", drain_grace_s=0)
    server = Server(EngineConfig(device="cpu"), config, load_model)
    await server.start()
    try:
        await server.warm_up()
        yield server
    finally:
        await server.stop()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    async with run_server() as server:
        yield server


async def open_without_window(service: Service, caller: RawConnection) -> int:
    """A session whose caller lets the server send no message; its number, when it has its slot."""
    call = caller.call(STREAMING)
    caller.send(call, compose_config(idle_timeout_s=600))
    async with grpc.aio.insecure_channel(service.grpc) as channel:
        await become_free(channel, 7)
    return call


@pytest.mark.slow
async def test_a_caller_without_a_window_does_not_hold_up_the_end() -> None:
    with run_service("--no-gateway", "--drain-grace", "1") as service:
        async with connect(service.grpc, window_bytes=0) as caller:
            await open_without_window(service, caller)
            started = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(service.process.wait, 30) == 0
            # The grace, 5 s for a write, 2 s for a status and 2 s for the last words.
            assert time.monotonic() - started < 1 + 5 + 2 + 2 + 5


@pytest.mark.slow
async def test_a_caller_without_a_window_loses_its_slot_after_30_s() -> None:
    with run_service("--no-gateway") as service:
        async with (
            connect(service.grpc, window_bytes=0) as caller,
            grpc.aio.insecure_channel(service.grpc) as channel,
        ):
            await open_without_window(service, caller)
            await become_free(channel, 8, patience_s=WRITE_TIMEOUT_S + 10)


async def test_a_caller_without_a_window_is_not_waited_for(monkeypatch) -> None:
    """The two above, with short limits: in a session, and when the grace of a drain is over."""
    monkeypatch.setattr(writing, "WRITE_TIMEOUT_S", 0.5)
    monkeypatch.setattr(server_module, "LAST_WRITE_S", 0.1)
    async with run_server() as server, connect(server.address, window_bytes=0) as caller:
        engine = server.engine
        for ended_by in ("the limit", "the drain"):
            caller.send(caller.call(STREAMING), compose_config(idle_timeout_s=600))
            await become(lambda: engine.slots_free == 7, lambda: "no session was opened")
            if ended_by == "the limit":
                await become(lambda: engine.slots_free == 8, lambda: "it keeps its slot")
        async with asyncio.timeout(8):
            await server.drain()


async def test_a_slot_is_free_once_its_session_has_ended_although_nobody_reads(
    server: Server,
) -> None:
    async with connect(server.address, window_bytes=0) as caller:
        caller.send(caller.call(STREAMING), compose_config(idle_timeout_s=1))
        await become(lambda: server.engine.slots_free == 7, lambda: "no session was opened")
        await become(lambda: server.engine.slots_free == 8, lambda: "its slot counts as taken")


async def test_a_watcher_that_takes_nothing_holds_up_nobody(server: Server) -> None:
    """Neither the watchers beside it nor the drain that tells them."""
    async with (
        connect(server.address, window_bytes=0) as deaf,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        for _ in range(20):
            deaf.send(deaf.call(WATCH), frame(b""), end=True)
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        draining = asyncio.create_task(server.drain())
        told = await asyncio.wait_for(watch.read(), 5)
        assert told.status == health_pb2.HealthCheckResponse.NOT_SERVING
        await asyncio.wait_for(draining, 10)


async def test_health_of_what_is_not_served(server: Server) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health.Check(health_pb2.HealthCheckRequest(service="nothing"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(service="nothing"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        listed = await health.List(health_pb2.HealthListRequest())
        services = {"stt.v1.SpeechToTextService", "nvidia.riva.asr.RivaSpeechRecognition"}
        assert set(listed.statuses) == {""} | services
        watch.cancel()


async def call_often(address: str, path: str, body: bytes | None, calls: int) -> None:
    """Open many calls, on as many connections as it takes, and leave without a word."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(calls // 100):
            caller = await stack.enter_async_context(connect(address))
            for _ in range(100):
                call = caller.call(path)
                if body is not None:
                    caller.send(call, body, end=True)
        await become(lambda: len(asyncio.all_tasks()) > calls, lambda: "nothing runs")


@pytest.mark.parametrize(
    ("path", "body", "calls"),
    [(WATCH, frame(b""), 2000), (STREAMING, None, 1500), (TRANSCRIBE, None, 1500)],
    ids=["watches", "sessions without a config", "calls without a message"],
)
async def test_calls_leave_nothing_when_their_connection_is_gone(
    server: Server, path: str, body: bytes | None, calls: int
) -> None:
    before = len(asyncio.all_tasks())
    await call_often(server.address, path, body, calls)
    left = lambda: f"{len(asyncio.all_tasks()) - before} coroutines are left"  # noqa: E731
    await become(lambda: len(asyncio.all_tasks()) <= before, left)


async def test_a_call_whose_first_message_does_not_come_is_ended(server, monkeypatch) -> None:
    monkeypatch.setattr(guard, "FIRST_MESSAGE_TIMEOUT_S", 0.5)
    async with connect(server.address) as caller:
        calls = [caller.call(path) for path in (STREAMING, GET_INFO, WATCH, REFLECTION)]
        async with asyncio.timeout(30):
            answers = [await caller.answer(call) for call in calls]
    assert [answer["grpc-status"] for answer in answers] == ["3"] * 4
    assert {answer["grpc-message"] for answer in answers} == {"no message came within 0.5 s"}
