"""TLS on both sides of the gateway, with certificates that are renewed while it runs."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import trustme
import websockets
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from client.rpc.channel import SERVICE_NAME
from client.rpc.endpoint import Endpoint
from stt.v1 import stt_pb2_grpc
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_to_close,
    read_until,
    run_scripted,
)
from tests.integration.gateway.test_process import start_gateway

END = '{"type":"end"}'


def issue(authority: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
    """A new certificate and key, written over the ones of that name."""
    issued = authority.issue_cert("localhost", "127.0.0.1")
    files = folder / f"{name}.pem", folder / f"{name}.key"
    # The chain last: a reload between the two does not match, and is done again.
    issued.private_key_pem.write_to_path(files[1])
    issued.cert_chain_pems[0].write_to_path(files[0])
    return files


def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def transcribe(http: str, context: ssl.SSLContext) -> str:
    url = f"wss://{http}/v1/stream?events=final"
    async with websockets.connect(url, ssl=context, proxy=None) as websocket:
        await websocket.send(b"abcd")
        await websocket.send(END)
        return (await read_to_close(websocket)).messages[-1]["transcript"]


async def test_wss_https_and_a_renewed_certificate(tmp_path: Path):
    old, new = trustme.CA(), trustme.CA()
    certificate, key = issue(old, tmp_path, "server")
    async with (
        run_scripted(ScriptedService()) as endpoint,
        start_gateway(endpoint, "--tls-cert", str(certificate), "--tls-key", str(key)) as gateway,
    ):
        url = f"wss://{gateway.http}/v1/stream?events=final"
        async with (
            websockets.connect(url, ssl=trust(old), proxy=None) as live,
            httpx.AsyncClient(verify=trust(old), trust_env=False) as client,
        ):
            page = await client.get(f"https://{gateway.http}/")
            assert page.status_code == 200
            await live.send(b"abcd")
            await read_until(live, "token")
            issue(new, tmp_path, "server")
            assert await transcribe(gateway.http, trust(new)) == " 4"
            # Who is connected goes on.
            await live.send(b"efgh")
            await live.send(END)
            assert (await read_to_close(live)).messages[-1]["transcript"] == " 8"
        # Plain HTTP on a TLS port is closed and counted, without a traceback.
        plain = await httpx_get_plain(gateway.http)
        assert plain is None
        gateway.process.terminate()
        assert await gateway.wait() == 0
        log = await gateway.read_log()
    events = [line["event"] for line in log]
    assert any(event.startswith("TLS files read again") for event in events)
    assert "TLS handshake failed" in events
    assert not any("exception" in line for line in log)


async def httpx_get_plain(http: str) -> httpx.Response | None:
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return await client.get(f"http://{http}/")
        except httpx.TransportError:
            return None


@asynccontextmanager
async def run_mutual(
    authority: trustme.CA, clients: trustme.CA, folder: Path
) -> AsyncIterator[int]:
    """A scripted service that wants a certificate of its clients; yields its port."""
    certificate, key = issue(authority, folder, "service")
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    stt_pb2_grpc.add_SpeechToTextServiceServicer_to_server(ScriptedService(), server)
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    await checks.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())], clients.cert_pem.bytes(), True
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


async def test_a_service_that_wants_a_certificate_gets_the_present_one(tmp_path: Path):
    authority, clients, strangers = trustme.CA(), trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate, key = issue(strangers, tmp_path, "gateway")
    async with run_mutual(authority, clients, tmp_path) as port:
        upstream = f"https://localhost:{port}"
        options = ("--upstream", upstream, "--upstream-ca", str(tmp_path / "ca.pem"))
        mine = ("--upstream-cert", str(certificate), "--upstream-key", str(key))
        async with start_gateway(
            Endpoint.parse(upstream), *options, *mine, "--patience", "60"
        ) as gateway:
            http = RunningGateway(gateway.http)
            assert (await http.get("/readyz")).status_code == 503
            # Renewed while a client waits: the right one is shown at the next attempt.
            async with http.connect("?events=final") as websocket:
                await websocket.send(b"abcd")
                issue(clients, tmp_path, "gateway")
                assert (await http.get("/readyz")).status_code == 200
                async with http.connect("?events=final") as other:
                    await other.send(b"abcd")
                    await other.send(END)
                    assert (await read_to_close(other)).messages[-1]["transcript"] == " 4"
                await websocket.close()
