"""Behind TLS: an edge that holds the handshake during a cold start, and a server that is silent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from client import websocket_handshake
from client.audio import ArraySource
from client.rpc import probe
from client.rpc.errors import ServerUnavailable, ServerUnreachable
from client.rpc.retry import Waiting
from client.stream import Patience, SttClient, WebSocketSttClient
from tests.integration.client.peers import Authority, listen, pipe, say_nothing
from tests.integration.gateway.harness import ScriptedService, run_gateway, run_scripted

SILENCE = np.zeros(2400, np.float32)
PATIENCE = Patience(unreachable_s=0.1)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@pytest.fixture
def suspicious(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the client is, only sooner."""
    monkeypatch.setattr(websocket_handshake, "SUSPICIOUS_AFTER_S", 0.2)
    monkeypatch.setattr(probe, "SILENCE_TIMEOUT_S", 1.0)


async def fail(client: SttClient | WebSocketSttClient) -> ServerUnreachable:
    async with client:
        with pytest.raises(ServerUnreachable) as caught:
            await client.transcribe(ArraySource(SILENCE))
    return caught.value


@pytest.mark.usefixtures("suspicious")
async def test_a_server_that_is_silent_behind_tls_is_not_waited_for(authority: Authority) -> None:
    async with listen(say_nothing, authority.context()) as port:
        error = await fail(WebSocketSttClient(f"wss://localhost:{port}", patience=PATIENCE))
    assert "completes the TLS handshake and then says nothing" in str(error)


@pytest.mark.slow
async def test_both_protocols_give_up_within_seconds(authority: Authority) -> None:
    """With the patience of the commands and of the library."""
    began = time.monotonic()
    async with listen(say_nothing, authority.context()) as port:
        place = f"localhost:{port}"
        await asyncio.gather(
            *(fail(SttClient(f"https://{place}", patience=p)) for p in (PATIENCE, None)),
            *(fail(WebSocketSttClient(f"wss://{place}", patience=p)) for p in (PATIENCE, None)),
        )
    assert time.monotonic() - began < 40


@pytest.mark.usefixtures("suspicious")
async def test_an_edge_that_holds_the_handshake_is_waited_for(authority: Authority) -> None:
    """And the caller is told meanwhile; here, that is what makes the container ready."""
    is_warm, reasons = asyncio.Event(), list[str]()

    def on_wait(waiting: Waiting) -> None:
        assert isinstance(waiting.reason, ServerUnavailable)
        reasons.append(str(waiting.reason))
        is_warm.set()

    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"\r\nHost:" not in head:
                writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            await is_warm.wait()
            await pipe(reader, writer, gateway.http, head)

        async with (
            listen(hold, authority.context()) as port,
            WebSocketSttClient(f"wss://localhost:{port}", on_wait=on_wait) as client,
        ):
            final = await client.transcribe(ArraySource(SILENCE))
    assert final.transcript
    assert reasons == [f"The service at localhost:{port} has not answered yet; it may be starting."]
