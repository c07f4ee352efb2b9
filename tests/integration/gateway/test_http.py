"""Health, metrics, information and headers."""

import asyncio

import grpc
import httpx
import pytest
import websockets
from prometheus_client.parser import text_string_to_metric_families

from client.rpc.endpoint import Endpoint
from gateway.replay import MAX_ATTEMPTS
from gateway.security import SECURITY_HEADERS
from tests.integration.gateway.harness import (
    Refusal,
    ScriptedService,
    free_port,
    read_to_close,
    run_gateway,
    run_scripted,
)

END = '{"type":"end"}'


async def test_alive_is_not_ready():
    port = free_port()
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway:
        assert (await gateway.get("/healthz")).status_code == 200
        waiting = await gateway.get("/readyz")
        assert waiting.status_code == 503
        assert waiting.json()["reason"]
        async with run_scripted(ScriptedService(), port):
            for _ in range(100):
                ready = await gateway.get("/readyz")
                if ready.status_code == 200:
                    break
                await asyncio.sleep(0.1)
            assert ready.json() == {"status": "ready"}


async def test_info_comes_from_the_service():
    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:
        info = await gateway.get("/v1/info")
    assert info.status_code == 200
    assert info.json()["model_name"] == "scripted"
    assert info.json()["slots_free"] == 1


async def test_info_without_a_service_says_why():
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway:
        info = await gateway.get("/v1/info")
    assert info.status_code == 503
    assert info.json()["error"]


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/v1/stream", "/nothing-here", "/"])
async def test_every_response_has_the_security_headers(path: str):
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway:
        headers = (await gateway.get(path)).headers
    assert {name: headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "server" not in headers


async def test_a_get_of_the_stream_path_asks_for_an_upgrade():
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway:
        response = await gateway.get("/v1/stream")
    assert response.status_code == 426
    assert "WebSocket" in response.text


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/streams", "/v2/stream", "/v1/stream/x", "//", "/healthz"]
)
async def test_a_websocket_at_another_path_gets_the_right_path(path: str):
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://{gateway.http}{path}", proxy=None)
    response = refused.value.response
    assert response.status_code == 404
    assert b"/v1/stream" in (response.body or b"")


@pytest.mark.parametrize("path", ["/v1", "/v1/streams", "/v1/stream/x", "/nothing-here"])
async def test_an_unknown_path_gets_a_list_of_paths(path: str):
    async with run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway:
        response = await gateway.get(path)
    assert response.status_code == 404
    assert "/v1/stream" in response.text


async def test_a_trailing_slash_makes_no_difference():
    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:
        url = f"ws://{gateway.http}/v1/stream/?events=final"
        async with websockets.connect(url, proxy=None) as websocket:
            await websocket.send(b"abc")
            await websocket.send(END)
            ended = await read_to_close(websocket)
        asked = await gateway.get("/v1/stream/")
    assert ended.messages[-1]["transcript"] == " 3"
    assert asked.status_code == 426


async def test_every_metric_is_updated():
    service = ScriptedService()
    async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
        before = await gateway.metrics()
        service.refuse = [Refusal(grpc.StatusCode.UNAVAILABLE, "warming up", "WARMING_UP", 0.1)]
        async with gateway.connect("?events=ready,final") as websocket:
            await websocket.send(bytes(1000))
            await websocket.recv()
            during = await gateway.metrics()
            await websocket.send(END)
            await read_to_close(websocket)
        async with gateway.connect("?encoding=mp3") as websocket:
            await read_to_close(websocket)
        service.failure = Refusal(grpc.StatusCode.UNAVAILABLE, "Stream removed")
        async with gateway.connect("?encoding=mulaw") as websocket:
            await websocket.send(bytes(1000))
            await read_to_close(websocket)
        with pytest.raises(Exception, match="403"):
            await gateway.connect(origin="http://evil.example")
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://{gateway.http}/", proxy=None)
        after = await gateway.metrics()
        text = (await gateway.get("/metrics")).text

    assert during["stt_gateway_connections_open"] == 2
    assert after["stt_gateway_connections_open"] == 1
    assert before["stt_gateway_sessions_open"] == 0
    assert during["stt_gateway_sessions_open"] == 1
    expected = {
        "stt_gateway_sessions_open": 0,
        "stt_gateway_connections_open": 1,
        "stt_gateway_buffered_bytes": 0,
        "stt_gateway_sessions_total{close_code=1000,outcome=finished}": 1,
        "stt_gateway_sessions_total{close_code=1008,outcome=bad_request}": 1,
        "stt_gateway_refused_total{reason=origin}": 1,
        "stt_gateway_refused_total{reason=path}": 1,
        "stt_gateway_sessions_total{close_code=1013,outcome=unavailable}": 1,
        "stt_gateway_audio_bytes_total": 2000,
        "stt_gateway_messages_total{type=ready}": 1,
        "stt_gateway_messages_total{type=token}": 1,
        "stt_gateway_messages_total{type=final}": 1,
        "stt_gateway_messages_total{type=error}": 2,
        "stt_gateway_first_token_seconds_count": 1,
        "stt_gateway_admission_seconds_count": 1 + 1 + MAX_ATTEMPTS,
        "stt_gateway_replays_total": MAX_ATTEMPTS,
        "stt_gateway_upstream_retries_total": 1,
    }
    assert {name: after[name] for name in expected} == expected
    families = {
        family.name
        for family in text_string_to_metric_families(text)
        if family.name.startswith("stt_") and not family.name.endswith("_created")
    }
    driven = {name.partition("{")[0] for name in expected}
    assert all(any(name.startswith(family) for name in driven) for family in families), (
        "a metric that this test does not drive"
    )


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        # Where other services take a recording.
        ("POST", "/v1/audio/transcriptions", 404, "WebSockets at /v1/stream"),
        ("POST", "/nothing-here", 404, "WebSockets at /v1/stream"),
        ("DELETE", "/no/such/path", 404, "WebSockets at /v1/stream"),
        ("POST", "/v1/stream", 426, "Connect with ws://"),
        ("PUT", "/v1/realtime/", 426, "Connect with ws://"),
        ("POST", "/v1/info", 405, "POST means nothing here; this path answers GET and HEAD."),
        ("PUT", "/", 405, "PUT means nothing here"),
        ("DELETE", "/app.js", 405, "DELETE means nothing here"),
    ],
)
async def test_a_method_that_a_path_has_not_is_answered_with_what_is_right(
    method: str, path: str, status: int, says: str
):
    async with (
        run_gateway(Endpoint.parse(f"127.0.0.1:{free_port()}")) as gateway,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        answer = await client.request(method, f"http://{gateway.http}{path}")
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
    assert answer.headers.get("Allow") == ("GET, HEAD" if status == 405 else None)
