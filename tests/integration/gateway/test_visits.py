"""Quick visits leave nothing behind: no slot, no task, no descriptor, no complaint in a log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import httpx
import pytest

from stt.endpoint import Endpoint
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.gateway.harness import (
    RunningGateway,
    free_port,
    read_until,
    run_gateway,
)
from tests.integration.gateway.stack import SLOTS, Stack, count_tasks, run_server, run_stack
from tests.integration.gateway.visits import (
    VISITS,
    Door,
    Manner,
    Moment,
    Visit,
    visit_grpc,
    visit_often,
    visit_page,
    visit_websocket,
)
from tests.interleaving import Complaints, become
from tests.support import Service, run_service

FORGOTTEN_S = 600
BEFORE_READY = [visit for visit in VISITS if visit.moment in (Moment.ASKED, Moment.OPEN)]
DOORS = ("websocket", "page", "grpc")
QUICK = 200
MANY = 2_000
# More than either process needs.
WARM_DESCRIPTORS = 64
GONE = {"client_gone"}


class Guard:
    """What there was before the visits; after them it is there again, and nobody complained."""

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


def count_descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


async def become_free(stack: Stack) -> None:
    engine = stack.server.engine
    await become(
        lambda: engine.slots_free == SLOTS,
        lambda: f"{engine.slots_free} of {SLOTS} slots are free",
    )
    assert await stack.slots() == (SLOTS, SLOTS)


async def outcomes(gateway: RunningGateway) -> Counter[str]:
    """How the gateway counted the sessions that ended."""
    counted: Counter[str] = Counter()
    for name, value in (await gateway.metrics()).items():
        if name.startswith("stt_gateway_sessions_total{"):
            counted[name.partition("outcome=")[2].rstrip("}")] += int(value)
    return counted


def doors_of(http: str, grpc_address: str) -> list[Door]:
    return [
        partial(visit_websocket, http),
        partial(visit_page, http),
        partial(visit_grpc, grpc_address),
    ]


class TestInOneProcess:
    """Where every task can be counted. The model is silent, all else is real."""

    @pytest.fixture
    async def stack(self) -> AsyncIterator[Stack]:
        async with run_stack() as stack:
            # What is made with the first visits stays: connections, threads, caches.
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
                    # In the end nobody listens any more.
                    with contextlib.suppress(OSError):
                        await visit_websocket(gateway.http, visit)

                visiting = asyncio.create_task(visit_often([come_anyway], MANY))
                await become(lambda: engine.slots_free < SLOTS, lambda: "nobody was let in")
            await become(lambda: engine.slots_free == SLOTS, lambda: "a slot is left")
            await visiting
        assert [r.getMessage() for r in caplog.records if is_complaint(r)] == []


class TestAColdStart:
    """Visitors that leave before there is anybody to serve them."""

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


@dataclass(frozen=True)
class Served:
    """stt-serve as its users run it, and all that it writes to standard error."""

    service: Service
    log: Path

    @property
    def pids(self) -> list[int]:
        """The server and its gateway."""
        pid = self.service.process.pid
        children = [
            int(child)
            for path in Path(f"/proc/{pid}/task").glob("*/children")
            for child in path.read_text().split()
        ]
        return [pid, *children]

    @property
    def descriptors(self) -> list[int]:
        return [count_descriptors(pid) for pid in self.pids]

    async def slots(self) -> list[tuple[float, float]]:
        """Free and total, as GetServerInfo says, and as /metrics says."""
        async with grpc.aio.insecure_channel(self.service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            info = await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())
        metrics = await read_metrics(self.service.fields["metrics"])
        return [
            (info.slots_free, info.slots_total),
            (metrics["stt_slots_free"], metrics["stt_slots_total"]),
        ]

    async def nothing_is_left(self, descriptors: list[int]) -> None:
        """Slots and descriptors are as before, and no session is open on either side."""
        all_free = 2 * [(SLOTS, SLOTS)]

        async def is_free() -> bool:
            return await self.slots() == all_free

        await become(is_free, lambda: "slots are left")
        await become(
            lambda: all(n <= m for n, m in zip(self.descriptors, descriptors, strict=True)),
            lambda: f"descriptors are {self.descriptors}, were {descriptors}",
        )
        assert (await read_metrics(self.service.fields["metrics"]))["stt_sessions_open"] == 0
        assert (await read_metrics(self.service.http))["stt_gateway_sessions_open"] == 0
        said = self.log.read_text()
        assert not re.search(r"Traceback|never (?:retrieved|awaited)|Exception|failed", said), said


async def read_metrics(address: str) -> dict[str, float]:
    """Every sample by its name and labels."""
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{address}/metrics")).text
    samples = re.findall(r"(?m)^(\w+(?:\{[^}]*\})?) (\S+)$", text)
    return {name: float(value) for name, value in samples}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("visits") / "stderr.log"
    with path.open("w") as log, run_service("--metrics", "127.0.0.1:0", log=log) as service:
        yield Served(service, path)


@pytest.mark.parametrize(
    "count", [QUICK, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_a_real_service_is_as_before_after_many_visits(served: Served, count: int):
    doors = doors_of(served.service.http, served.service.grpc)
    # What is made with the first visits stays: connections, threads, caches.
    await visit_often(doors, len(VISITS))
    await served.nothing_is_left([WARM_DESCRIPTORS] * 2)
    before = served.descriptors
    counted = await read_metrics(served.service.http)
    await visit_often(doors, count)
    await served.nothing_is_left(before)
    ended = await read_metrics(served.service.http)
    changed = {name for name in ended if ended[name] != counted.get(name)}
    assert {name for name in changed if name.startswith("stt_gateway_sessions_total")} == {
        'stt_gateway_sessions_total{close_code="none",outcome="client_gone"}'
    }
