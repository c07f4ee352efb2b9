"""A running stt-serve with its gateway, watched from outside: slots, descriptors, metrics, log."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.gateway.stack import count_descriptors
from tests.interleaving import QUIET_S, become
from tests.support import Service

WARM_DESCRIPTORS = 64
"""An upper bound for either process."""


@dataclass(frozen=True)
class WatchedService:
    """Its process, and what it and its gateway have written to standard error."""

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
        slots = int(self.service.fields["slots"])
        all_free = 2 * [(slots, slots)]

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
