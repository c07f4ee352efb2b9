"""Hundreds and thousands of short connections to a real stt-serve process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.gateway.stack import SLOTS, count_descriptors
from tests.integration.gateway.visits import VISITS, doors_of, visit_often
from tests.interleaving import QUIET_S, become
from tests.support import Service, run_service

QUICK = 200
MANY = 2_000
# The documented bound; the quick test allows for a busy machine.
FREE_WITHIN_S = {QUICK: QUIET_S, MANY: 1.0}
# An upper bound for either process.
WARM_DESCRIPTORS = 64


@dataclass(frozen=True)
class Served:
    """A running stt-serve and what it has written to standard error."""

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

    async def nothing_is_left(self, descriptors: list[int], free_within_s: float = QUIET_S) -> None:
        """Slots and descriptors are as before, and no session is open on either side."""
        all_free = 2 * [(SLOTS, SLOTS)]

        async def is_free() -> bool:
            return await self.slots() == all_free

        await become(is_free, lambda: "slots are left", free_within_s)
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
async def test_many_visits_leave_nothing_behind(served: Served, count: int):
    doors = doors_of(served.service.http, served.service.grpc)
    # The first visits create what stays: connections, threads, caches.
    await visit_often(doors, len(VISITS))
    await served.nothing_is_left([WARM_DESCRIPTORS] * 2)
    before = served.descriptors
    counted = await read_metrics(served.service.http)
    await visit_often(doors, count)
    await served.nothing_is_left(before, FREE_WITHIN_S[count])
    ended = await read_metrics(served.service.http)
    changed = {name for name in ended if ended[name] != counted.get(name)}
    assert {name for name in changed if name.startswith("stt_gateway_sessions_total")} == {
        'stt_gateway_sessions_total{close_code="none",outcome="client_gone"}'
    }
