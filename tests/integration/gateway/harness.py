"""A gateway and a small scripted service, both on real sockets in the test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import websockets
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from client.rpc.channel import SERVICE_NAME
from client.rpc.endpoint import Endpoint
from gateway.config import GatewayConfig
from gateway.process import make_server
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.process.listening import listen

Response = stt_pb2.StreamingTranscribeResponse

MAX_STREAMS = 1000


def free_port() -> int:
    """A port that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@dataclass(frozen=True)
class Refusal:
    """How the scripted service ends a call; without a reason, as a proxy would."""

    code: grpc.StatusCode
    text: str
    reason: str | None = None
    retry_after_s: float | None = None

    async def apply(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        status = status_pb2.Status(code=self.code.value[0], message=self.text)
        if self.reason is not None:
            info = error_details_pb2.ErrorInfo(reason=self.reason, domain="stt.v1")
            status.details.add().Pack(info)
        if self.retry_after_s is not None:
            delay = Duration()
            delay.FromMilliseconds(round(self.retry_after_s * 1000))
            status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
        trailers: tuple[tuple[str, bytes], ...] = ()
        if status.details:
            trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        await context.abort(self.code, self.text, trailers)


@dataclass
class Call:
    """What the scripted service saw of one call."""

    config: stt_pb2.StreamingConfig
    held: bool = False
    audio: bytearray = field(default_factory=bytearray)
    pieces: list[int] = field(default_factory=list)
    flush_ids: list[str] = field(default_factory=list)
    vads: list[stt_pb2.VadSettings] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class ScriptedService(stt_pb2_grpc.SpeechToTextServiceServicer):
    """Speaks stt.v1 without a model: one token for each audio message, and scripted failures.

    `refuse` ends a call before `ready`; `fail_after_bytes` ends it with `failure` once so much
    audio has come; a call opened while `holding` reads nothing more until `release`.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.refuse: list[Refusal] = []
        self.failure: Refusal | None = None
        self.fail_after_bytes = 0
        self.babble: str | None = None
        self.babbled = 0
        self.holding = False
        self.release = asyncio.Event()

    async def StreamingTranscribe(self, request_iterator: Any, context: Any) -> None:
        config = (await anext(request_iterator)).config
        if self.refuse:
            await self.refuse.pop(0).apply(context)
        call = Call(config, held=self.holding)
        self.calls.append(call)
        try:
            await context.write(Response(ready=stt_pb2.Ready(session_id=f"s{len(self.calls)}")))
            await self._talk(call, request_iterator, context)
        finally:
            call.ended.set()

    async def _talk(self, call: Call, requests: Any, context: Any) -> None:
        while self.babble is not None:
            await context.write(Response(token=stt_pb2.Token(text=self.babble)))
            self.babbled += 1
        if call.held:
            await self.release.wait()
        async for request in requests:
            if request.HasField("flush"):
                call.flush_ids.append(request.flush.flush_id)
                flushed = stt_pb2.Flushed(flush_id=request.flush.flush_id)
                await context.write(Response(flushed=flushed))
                continue
            if request.HasField("vad"):
                call.vads.append(request.vad)
                continue
            call.audio += request.audio
            call.pieces.append(len(request.audio))
            if self.failure is not None and len(call.audio) >= self.fail_after_bytes:
                await self.failure.apply(context)
            await context.write(Response(token=stt_pb2.Token(text=f" {len(call.audio)}")))
        await context.write(Response(final=stt_pb2.Final(transcript=f" {len(call.audio)}")))

    async def Transcribe(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def GetServerInfo(self, request: Any, context: Any) -> Any:
        return stt_pb2.GetServerInfoResponse(model_name="scripted", slots_total=1, slots_free=1)


@contextlib.asynccontextmanager
async def run_scripted(
    service: ScriptedService, port: int = 0, most_streams: int = MAX_STREAMS
) -> AsyncIterator[Endpoint]:
    """Serve the scripted service, with health SERVING, while the block runs."""
    server = grpc.aio.server(
        options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", most_streams)]
    )
    stt_pb2_grpc.add_SpeechToTextServiceServicer_to_server(service, server)
    checks: Any = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield Endpoint.parse(f"127.0.0.1:{port}")
    finally:
        await server.stop(0)


@dataclass(frozen=True)
class RunningGateway:
    """A gateway in this process; `http` is HOST:PORT."""

    http: str

    def connect(self, query: str = "", **options: Any) -> websockets.connect:
        """A WebSocket to it."""
        return websockets.connect(f"ws://{self.http}/v1/stream{query}", **options)

    async def get(self, path: str) -> httpx.Response:
        """An HTTP request to it."""
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://{self.http}{path}")

    async def metrics(self) -> Mapping[str, float]:
        """Every sample of /metrics: `name{label="value"}` → value."""
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families((await self.get("/metrics")).text):
            for sample in family.samples:
                labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples


@contextlib.asynccontextmanager
async def run_gateway(
    upstream: Endpoint, *, host: str = "127.0.0.1", **settings: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway in front of the upstream while the block runs; `host` as in --http."""
    server = make_server(GatewayConfig(upstream, **settings))
    # Connections made before the server has started wait in the backlog.
    with ExitStack() as stack:
        listening = [stack.enter_context(each) for each in listen(host, 0)]
        port = listening[0].getsockname()[1]
        task = asyncio.create_task(server.serve(listening))
        try:
            yield RunningGateway(f"127.0.0.1:{port}")
        finally:
            server.stop()
            server.stop()
            await task


@dataclass(frozen=True)
class Ended:
    """All that a client received, and the close."""

    messages: list[dict[str, Any]]
    code: int
    reason: str

    @property
    def kinds(self) -> list[str]:
        """The types of the messages, in order."""
        return [message["type"] for message in self.messages]

    @property
    def text(self) -> str:
        """The transcript: all token texts joined."""
        return "".join(m["text"] for m in self.messages if m["type"] == "token")

    @property
    def error(self) -> str:
        """The message of the one `error`, which is the last message."""
        assert self.kinds.count("error") == 1
        assert self.kinds[-1] == "error"
        return self.messages[-1]["message"]


async def read_to_close(websocket: websockets.ClientConnection) -> Ended:
    """Read until the gateway closes."""
    messages: list[dict[str, Any]] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            messages.append(json.loads(await websocket.recv()))
    assert websocket.close_code is not None
    return Ended(messages, websocket.close_code, websocket.close_reason or "")


async def read_until(websocket: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    """Read until a message of that type."""
    while True:
        message = json.loads(await websocket.recv())
        if message["type"] == kind:
            return message
