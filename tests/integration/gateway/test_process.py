"""`stt-gateway` as a process: its `ready` line, signals, exit status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import websockets

from client.rpc.endpoint import Endpoint
from tests.integration.client.peers import Authority, tls_front
from tests.integration.gateway.harness import (
    ScriptedService,
    free_port,
    read_to_close,
    read_until,
    run_scripted,
)

END = '{"type":"end"}'


@dataclass(frozen=True)
class GatewayProcess:
    process: Process
    http: str

    @property
    def url(self) -> str:
        return f"ws://{self.http}/v1/stream"

    async def wait(self) -> int:
        """Its exit status; fails if it does not end soon."""
        async with asyncio.timeout(10):
            return await self.process.wait()

    async def wait_until_it_refuses_connections(self) -> None:
        """Wait until it has handled a signal and stopped listening."""
        host, _, port = self.http.rpartition(":")
        with contextlib.suppress(ConnectionRefusedError):
            while True:
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                await asyncio.sleep(0.01)

    async def read_log(self) -> list[dict[str, object]]:
        """All lines of its JSON log, once it has ended."""
        assert self.process.stderr is not None
        return [json.loads(line) for line in (await self.process.stderr.read()).splitlines()]


@contextlib.asynccontextmanager
async def start_gateway(upstream: Endpoint, *options: str) -> AsyncIterator[GatewayProcess]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "--upstream", str(upstream)),
        *("--http", "127.0.0.1:0", "--log-format", "json", *options),
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        found = re.fullmatch(r"ready http=(\S+:\d+)\n", line)
        assert found, line
        yield GatewayProcess(process, found[1])
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # Reads the rest, so that no pipe stays open after the test.
        await process.communicate()


@pytest.fixture
async def upstream() -> AsyncIterator[Endpoint]:
    async with run_scripted(ScriptedService()) as endpoint:
        yield endpoint


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_with_status_0(upstream: Endpoint, number: signal.Signals):
    async with start_gateway(upstream) as gateway:
        gateway.process.send_signal(number)
        assert await gateway.wait() == 0


async def test_open_sessions_finish_after_sigterm_and_new_ones_are_refused(upstream: Endpoint):
    async with start_gateway(upstream) as gateway:
        async with websockets.connect(f"{gateway.url}?events=final") as websocket:
            await websocket.send(b"said before")
            await read_until(websocket, "token")
            gateway.process.terminate()
            await gateway.wait_until_it_refuses_connections()
            with pytest.raises(OSError):
                await websockets.connect(gateway.url)
            await websocket.send(b" and after")
            await websocket.send(END)
            ended = await read_to_close(websocket)
        assert ended.messages[-1]["transcript"] == " 21"
        assert ended.code == 1000
        assert await gateway.wait() == 0


@pytest.mark.parametrize(("options", "signals"), [(["--grace", "0.2"], 1), ([], 2)])
async def test_the_grace_period_ends_by_time_or_by_a_second_signal(
    upstream: Endpoint, options: list[str], signals: int
):
    async with start_gateway(upstream, *options) as gateway:
        async with websockets.connect(gateway.url) as websocket:
            await websocket.send(b"abcd")
            await read_until(websocket, "token")
            for _ in range(signals):
                gateway.process.terminate()
                await gateway.wait_until_it_refuses_connections()
            ended = await read_to_close(websocket)
        assert ended.code == 1012
        assert "restarting" in ended.error
        assert await gateway.wait() == 0


async def test_a_session_that_waits_for_a_cold_service_ends_at_once():
    async with run_scripted(ScriptedService()) as gone:
        pass
    async with start_gateway(gone) as gateway:
        async with websockets.connect(gateway.url) as websocket:
            await read_until(websocket, "ping")
            gateway.process.terminate()
            ended = await read_to_close(websocket)
        assert ended.code == 1012
        assert await gateway.wait() == 0


async def test_exit_with_parent(
    upstream: Endpoint,
):
    async with (
        start_gateway(upstream) as other,
        start_gateway(upstream, "--exit-with-parent") as gateway,
    ):
        assert other.process.stdin is not None
        other.process.stdin.close()
        async with websockets.connect(gateway.url) as websocket:
            await websocket.send(b"abcd")
            await read_until(websocket, "token")
            assert gateway.process.stdin is not None
            gateway.process.stdin.close()
            assert (await read_to_close(websocket)).code == 1012
        assert await gateway.wait() == 0
        # The other one lost its standard input earlier.
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://{other.http}/healthz")).status_code == 200


@pytest.mark.parametrize(
    "listening", ["127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0", "localhost:0", "127.1:0"]
)
async def test_the_ready_line_names_an_address_to_connect_to(upstream: Endpoint, listening: str):
    async with (
        start_gateway(upstream, "--http", listening, "--insecure") as gateway,
        websockets.connect(f"{gateway.url}?events=final", proxy=None) as websocket,
    ):
        await websocket.send(b"abc")
        await websocket.send(END)
        assert (await read_to_close(websocket)).code == 1000


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_it_serves_with_a_broken_output(upstream: Endpoint, stream: str):
    port = free_port()
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "--upstream", str(upstream)),
        *("--http", f"127.0.0.1:{port}"),
        **{"stdout": DEVNULL, "stderr": DEVNULL, stream: writer},
    )
    os.close(writer)
    try:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(OSError):
                    async with websockets.connect(
                        f"ws://127.0.0.1:{port}/v1/stream", proxy=None
                    ) as websocket:
                        await websocket.send(END)
                        assert (await read_to_close(websocket)).code == 1000
                    break
                await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_the_log_of_a_session_has_no_audio_and_no_words(upstream: Endpoint):
    async with start_gateway(upstream) as gateway:
        async with websockets.connect(f"{gateway.url}?events=final") as websocket:
            await websocket.send(b"a secret")
            await websocket.send(END)
            await read_to_close(websocket)
        gateway.process.terminate()
        await gateway.wait()
        log = await gateway.read_log()
    assert [line["event"] for line in log] == [
        "gateway started",
        "session opened",
        "session admitted",
        "session closed",
        "gateway stopped",
    ]
    opened, admitted, closed = log[1:4]
    assert opened["connection"] == admitted["connection"] == closed["connection"]
    assert admitted["session_id"] == closed["session_id"] == "s1"
    assert (closed["outcome"], closed["close_code"]) == ("finished", "1000")
    assert closed["audio_bytes"] == 8
    assert "secret" not in json.dumps(log)
    assert " 8" not in [value for line in log for value in line.values()]


async def test_a_service_without_a_trusted_certificate(tmp_path: Path):
    """`/v1/info` gives the reason as `/readyz` does, and gRPC does not write into the JSON log."""
    context = Authority(tmp_path).context()
    async with (
        run_scripted(ScriptedService()) as endpoint,
        tls_front(endpoint.target, context) as port,
        start_gateway(endpoint, "--upstream", f"https://localhost:{port}") as gateway,
        httpx.AsyncClient(base_url=f"http://{gateway.http}", timeout=30) as http,
    ):
        info, ready = await http.get("/v1/info"), await http.get("/readyz")
        gateway.process.terminate()
        await gateway.wait()
        log = await gateway.read_log()
    assert (info.status_code, ready.status_code) == (503, 503)
    assert info.json()["error"] == ready.json()["reason"]
    assert "name the authority's PEM file in SSL_CERT_FILE" in info.json()["error"]
    assert [line["event"] for line in log] == ["gateway started", "gateway stopped"]
