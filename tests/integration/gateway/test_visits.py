"""Short connections leave nothing behind: no slot, task, descriptor or logged error."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    free_port,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.integration.gateway.stack import (
    SLOTS,
    Stack,
    count_descriptors,
    count_tasks,
    run_server,
    run_stack,
)
from tests.integration.gateway.visits import (
    VISITS,
    Line,
    Manner,
    Moment,
    Visit,
    doors_of,
    visit_often,
    visit_websocket,
)
from tests.interleaving import Complaints, become

FORGOTTEN_S = 600
BEFORE_READY = [visit for visit in VISITS if visit.moment in (Moment.ASKED, Moment.OPEN)]
DOORS = ("websocket", "page", "grpc")
HANDSHAKE = (
    "GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
MANY = 2_000
GONE = {"client_gone"}


class Guard:
    """The state before the visits, which must be the same after them, without logged errors."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog
        self._complaints = Complaints()
        self._tasks = count_tasks()
        self._descriptors = count_descriptors(os.getpid())

    async def nothing_is_left(self) -> None:
        def left() -> Counter[str]:
            return count_tasks() - self._tasks

        await become(lambda: not left(), lambda: f"tasks are left: {left()}")
        await become(
            lambda: count_descriptors(os.getpid()) <= self._descriptors,
            lambda: f"{count_descriptors(os.getpid())} descriptors, {self._descriptors} before",
        )
        assert self._complaints.collect() == []
        told = [record.getMessage() for record in self._caplog.records if is_complaint(record)]
        assert told == []


def is_complaint(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR or record.exc_info is not None


async def become_free(stack: Stack) -> None:
    engine = stack.server.engine
    await become(
        lambda: engine.slots_free == SLOTS,
        lambda: f"{engine.slots_free} of {SLOTS} slots are free",
    )
    assert await stack.slots() == (SLOTS, SLOTS)


async def become_closed(gateway: RunningGateway) -> None:
    async def is_closed() -> bool:
        return (await gateway.metrics())["stt_gateway_sessions_open"] == 0

    await become(is_closed, lambda: "a session is left")


async def outcomes(gateway: RunningGateway) -> Counter[str]:
    """How the gateway counted the sessions that ended."""
    counted: Counter[str] = Counter()
    for name, value in (await gateway.metrics()).items():
        if name.startswith("stt_gateway_sessions_total{"):
            counted[name.partition("outcome=")[2].rstrip("}")] += int(value)
    return counted


class TestInOneProcess:
    """Everything in one process, so that tasks can be counted. Only the model is a fake."""

    @pytest.fixture
    async def stack(self) -> AsyncIterator[Stack]:
        async with run_stack() as stack:
            # The first visits create what stays: connections, threads, caches.
            await visit_often(doors_of(stack.gateway.http, stack.grpc), len(VISITS))
            await become_free(stack)
            yield stack

    @pytest.mark.parametrize("manner", Manner)
    async def test_visits_that_end_about_when_they_are_admitted(
        self, stack: Stack, manner: Manner, caplog: pytest.LogCaptureFixture
    ):
        guard = Guard(caplog)
        before = await outcomes(stack.gateway)
        visits = [Visit(Moment.OPEN, manner, audio) for audio in (False, True)]
        await visit_often([partial(visit_websocket, stack.gateway.http)], 100, visits)
        await become_free(stack)
        await guard.nothing_is_left()
        assert await outcomes(stack.gateway) - before == {"client_gone": 100}

    @pytest.mark.parametrize("door", DOORS)
    async def test_visits_of_every_kind(
        self, stack: Stack, door: str, caplog: pytest.LogCaptureFixture
    ):
        guard = Guard(caplog)
        doors = dict(zip(DOORS, doors_of(stack.gateway.http, stack.grpc), strict=True))
        await visit_often([doors[door]], 2 * len(VISITS))
        await become_free(stack)
        await guard.nothing_is_left()
        assert set(await outcomes(stack.gateway)) == GONE

    async def test_those_who_watch_the_health_leave_nothing(
        self, stack: Stack, caplog: pytest.LogCaptureFixture
    ):
        async def watch(cancels: bool) -> None:
            async with grpc.aio.insecure_channel(stack.grpc) as channel:
                call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
                await call.read()
                # Otherwise the call ends with its connection.
                if cancels:
                    call.cancel()

        for cancels in (True, False):
            await watch(cancels)
        guard = Guard(caplog)
        for cancels in 10 * [True, False]:
            await watch(cancels)
        await guard.nothing_is_left()

    async def test_visits_to_a_full_service(self, stack: Stack, caplog: pytest.LogCaptureFixture):
        async with contextlib.AsyncExitStack() as taken:
            for _ in range(SLOTS):
                websocket = await taken.enter_async_context(
                    stack.gateway.connect(f"?events=ready&idle_timeout={FORGOTTEN_S}")
                )
                await read_until(websocket, "ready")
            guard = Guard(caplog)
            await visit_often(doors_of(stack.gateway.http, stack.grpc), 100, BEFORE_READY)
            await guard.nothing_is_left()
            assert stack.server.engine.slots_free == 0
        await become_free(stack)
        assert set(await outcomes(stack.gateway)) <= {"client_gone", "full"}

    async def test_visits_to_a_gateway_that_drains(self, caplog: pytest.LogCaptureFixture):
        async with run_server() as server:
            engine = server.engine
            async with run_gateway(Endpoint.parse(f"127.0.0.1:{server.port}")) as gateway:

                async def come_anyway(visit: Visit) -> None:
                    # At the end nobody is listening.
                    with contextlib.suppress(OSError):
                        await visit_websocket(gateway.http, visit)

                visiting = asyncio.create_task(visit_often([come_anyway], MANY))
                await become(lambda: engine.slots_free < SLOTS, lambda: "nobody was let in")
            await become(lambda: engine.slots_free == SLOTS, lambda: "a slot is left")
            await visiting
        assert [r.getMessage() for r in caplog.records if is_complaint(r)] == []


class TestAColdStart:
    """Visitors that leave before the service is up."""

    @pytest.mark.parametrize("there", ["nobody", "warming up"])
    async def test_visits_meanwhile(self, there: str, caplog: pytest.LogCaptureFixture):
        async with contextlib.AsyncExitStack() as stack:
            port = free_port()
            if there == "warming up":
                await stack.enter_async_context(run_server(port=port, warm=False))
            gateway = await stack.enter_async_context(
                run_gateway(Endpoint.parse(f"127.0.0.1:{port}"), ping_interval_s=0.01)
            )
            door = partial(visit_websocket, gateway.http)
            await visit_often([door], len(BEFORE_READY), BEFORE_READY)
            guard = Guard(caplog)
            await visit_often([door], 100, BEFORE_READY)
            await guard.nothing_is_left()
            assert set(await outcomes(gateway)) == GONE
            assert (await gateway.metrics())["stt_gateway_sessions_open"] == 0


MASK = bytes(4)
BREACHES = {
    "text that is not UTF-8": b"\x81\x82" + MASK + b"\xff\xfe",
    "no mask": b"\x82\x03abc",
    "an unknown opcode": b"\x83\x80" + MASK,
    "reserved bits": b"\xf2\x80" + MASK,
    "a terabyte is announced": b"\x82\xff" + (2**40).to_bytes(8, "big") + MASK,
    "a continuation of nothing": b"\x80\x80" + MASK,
    "another protocol": b"GET / HTTP/1.1\r\n\r\n",
    "a close that is too short": b"\x88\x81" + MASK + b"x",
}


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
async def test_a_visitor_that_breaks_the_protocol_while_it_receives(
    breach: bytes, caplog: pytest.LogCaptureFixture
):
    service = ScriptedService()
    service.babble = "words and no end"
    async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
        for manner in 2 * list(Manner):
            async with Line.open(gateway.http) as line:
                line.send(HANDSHAKE.format(host=gateway.http).encode())
                await line.reader.readuntil(b"words")
                line.send(breach)
                await line.leave(manner)
        await become(
            lambda: all(call.ended.is_set() for call in service.calls), lambda: "a call is left"
        )
        await become_closed(gateway)
        assert set(await outcomes(gateway)) <= {"client_gone", "bad_request", "too_big"}
    assert [r.getMessage() for r in caplog.records if is_complaint(r)] == []


async def test_visitors_refused_at_the_handshake(caplog: pytest.LogCaptureFixture):
    origin = "Origin: https://evil.example\r\n\r\n"
    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:
        asked = HANDSHAKE.format(host=gateway.http).removesuffix("\r\n") + origin
        for manner in 5 * list(Manner):
            async with Line.open(gateway.http) as line:
                line.send(asked.encode())
                await line.leave(manner)
        metrics = await gateway.metrics()
        assert metrics["stt_gateway_sessions_open"] == 0
        assert not any(name.startswith("stt_gateway_sessions_total{") for name in metrics)
    assert [r.getMessage() for r in caplog.records if is_complaint(r)] == []
