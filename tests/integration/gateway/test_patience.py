"""What a client that is sending gets while the service is not up yet, or gone."""

import asyncio

import pytest
from grpc_health.v1 import health_pb2

from client.rpc.endpoint import Endpoint
from gateway.protocols.documented import cut_close_text
from stt.v1 import stt_pb2
from tests.integration.gateway.harness import (
    ScriptedService,
    free_port,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.unit.client.rpc.http2_edge import HttpEdge, grpc_message, grpc_ok

END = '{"type":"end"}'


async def test_a_gateway_that_starts_before_its_service_loses_nothing():
    port = free_port()
    service = ScriptedService()
    async with run_gateway(
        Endpoint.parse(f"127.0.0.1:{port}"), patience_s=30, ping_interval_s=0.1
    ) as gateway:
        async with gateway.connect("?events=ready,final") as websocket:
            for number in range(50):
                await websocket.send(number.to_bytes(4, "little") * 480)
            for _ in range(3):
                await read_until(websocket, "ping")
            async with run_scripted(service, port):
                await read_until(websocket, "ready")
                for number in range(50, 60):
                    await websocket.send(number.to_bytes(4, "little") * 480)
                await websocket.send(END)
                ended = await read_to_close(websocket)
        metrics = await gateway.metrics()
    assert ended.code == 1000
    assert bytes(service.calls[0].audio) == b"".join(
        number.to_bytes(4, "little") * 480 for number in range(60)
    )
    assert metrics["stt_gateway_upstream_retries_total"] >= 1
    assert metrics["stt_gateway_admission_seconds_count"] == 1
    assert metrics["stt_gateway_admission_seconds_sum"] > 0.3


async def test_patience_has_an_end():
    started = asyncio.get_running_loop().time()
    async with (
        run_gateway(
            Endpoint.parse(f"127.0.0.1:{free_port()}"), patience_s=1.0, ping_interval_s=0.1
        ) as gateway,
        gateway.connect() as websocket,
    ):
        await websocket.send(b"is anybody there")
        ended = await read_to_close(websocket)
    assert ended.code == 1013
    assert ended.error
    assert ended.kinds.count("ping") >= 5
    assert asyncio.get_running_loop().time() - started < 6


async def test_audio_kept_meanwhile_is_bounded():
    async with (
        run_gateway(
            Endpoint.parse(f"127.0.0.1:{free_port()}"), patience_s=60, buffer_bytes=1024 * 1024
        ) as gateway,
        gateway.connect() as websocket,
    ):
        sent = 0
        with pytest.raises(TimeoutError):
            while True:
                async with asyncio.timeout(1):
                    await websocket.send(bytes(64 * 1024))
                sent += 64 * 1024
        websocket.transport.abort()
        assert sent < 24 * 1024 * 1024


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [(401, 1011, "failed"), (429, 1013, "full"), (503, 1013, "unavailable")],
)
async def test_what_an_edge_says_reaches_the_client(status: int, code: int, outcome: str):
    async with (
        HttpEdge(status) as edge,
        run_gateway(edge.endpoint, patience_s=1.0, ping_interval_s=0.1) as gateway,
    ):
        async with gateway.connect() as websocket:
            ended = await read_to_close(websocket)
        metrics = await gateway.metrics()
    assert ended.code == code
    assert str(status) in ended.error
    assert metrics[f"stt_gateway_sessions_total{{close_code={code},outcome={outcome}}}"] == 1
    waited = "ping" in ended.kinds
    assert waited is (status != 401), "wrong credentials are not waited for, the others are"


SERVING = grpc_ok(health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING))


async def test_a_service_whose_streams_break_off_is_unavailable_and_not_restarting():
    async with (
        HttpEdge(200) as edge,
        run_gateway(edge.endpoint, patience_s=1.0, ping_interval_s=0.1) as gateway,
    ):
        edge.answer, edge.reset_streams = SERVING, True
        async with gateway.connect("?events=ready") as websocket:
            ended = await read_to_close(websocket)
        metrics = await gateway.metrics()
    assert (ended.code, ended.reason) == (1013, cut_close_text(ended.error))
    assert ended.messages[-1]["reason"] == "UPSTREAM_UNAVAILABLE"
    assert "ping" in ended.kinds, "the first break is waited for"
    assert metrics["stt_gateway_sessions_total{close_code=1013,outcome=unavailable}"] == 1


async def test_a_session_that_breaks_off_in_the_middle_is_unavailable_and_not_restarting():
    ready = stt_pb2.StreamingTranscribeResponse(ready=stt_pb2.Ready(session_id="s1"))
    async with HttpEdge(200) as edge, run_gateway(edge.endpoint) as gateway:
        edge.answer, edge.stream_answer = SERVING, grpc_message(ready)
        async with gateway.connect("?events=ready") as websocket:
            await read_until(websocket, "ready")
            await websocket.send(bytes(4096))
            ended = await read_to_close(websocket)
    assert (ended.code, ended.reason) == (1013, cut_close_text(ended.error))
    assert ended.messages[-1]["reason"] == "UPSTREAM_UNAVAILABLE"
