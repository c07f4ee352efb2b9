"""Server and gateway in the test's event loop, so that tasks and descriptors can be counted.

Engine, gRPC server and gateway are real; the model is a fake that never says anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from client.rpc.endpoint import Endpoint
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.config import EngineConfig, EngineLimits, ServerConfig
from stt_service.engine.model import StepOutput, StepPlan
from stt_service.engine.rows import CHECK_STEPS
from stt_service.server import Server
from tests.integration.gateway.harness import RunningGateway, run_gateway
from tests.unit.engine.models import PADDING, make_info, make_output

SLOTS = 8


class SilentModel:
    """Steps at once and says nothing; raises after a number of steps."""

    def __init__(self, slots: int = SLOTS, dies_after_steps: float = math.inf) -> None:
        self.info = make_info()
        self.slots = slots
        # The engine looks at what a model computes before it serves it.
        self._steps_left = CHECK_STEPS + dies_after_steps

    def warm_up(self) -> None:
        pass

    def step(self, plan: StepPlan) -> StepOutput:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return make_output([PADDING] * self.slots)


@contextlib.asynccontextmanager
async def run_server(
    slots: int = SLOTS, port: int = 0, warm: bool = True, dies_after_steps: float = math.inf
) -> AsyncIterator[Server]:
    """The gRPC server while the block runs; `warm` says whether it loads its model."""
    config = ServerConfig(f"127.0.0.1:{port}", drain_grace_s=0.0)
    model = SilentModel(slots, dies_after_steps)
    # Where many tests share a core, a model that is behind is no reason to refuse.
    engine = EngineConfig(slots=slots, limits=EngineLimits(max_behind_s=60))
    server = Server(engine, config, lambda: model)
    await server.start()
    try:
        if warm:
            await server.warm_up()
        yield server
    finally:
        await (server.drain() if warm else server.stop())


@dataclass
class Stack:
    """A running server and gateway."""

    server: Server
    gateway: RunningGateway

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    async def slots(self) -> tuple[int, int]:
        """Free and total, as GetServerInfo says."""
        async with grpc.aio.insecure_channel(self.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            info = await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())
        return info.slots_free, info.slots_total


def count_tasks() -> Counter[str]:
    """The tasks of this loop by what they run, without those in which a gRPC server waits for its
    next calls."""
    names = (getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks())
    return Counter(name for name in names if not name.startswith("AioServer._request"))


def count_descriptors(pid: int) -> int:
    """The files, pipes and sockets that a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


@contextlib.asynccontextmanager
async def run_stack(slots: int = SLOTS, **settings: Any) -> AsyncIterator[Stack]:
    """Server and gateway while the block runs."""
    async with run_server(slots) as server:
        endpoint = Endpoint.parse(f"127.0.0.1:{server.port}")
        async with run_gateway(endpoint, **settings) as gateway:
            yield Stack(server, gateway)
