"""Connections that never become anything: at `stt-gateway` with few descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_to_close,
    read_until,
    run_scripted,
)
from tests.integration.gateway.test_process import GatewayProcess, start_gateway

DESCRIPTORS = 256
SILENT = 300
END = '{"type":"end"}'
HANDSHAKE = (
    "GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
ODD_HANDSHAKES = {
    "a header line of 9,000 bytes": (f"X: {'a' * 9000}\r\n", 101),
    "140 headers": ("".join(f"X{number}: 1\r\n" for number in range(140)), 101),
    "a head of 100,000 bytes without an end": (f"X: {'a' * 100_000}", 400),
    "a Content-Length": ("Content-Length: 5\r\n", 400),
    "a chunked body": ("Transfer-Encoding: chunked\r\n", 400),
    "another version": ("Sec-WebSocket-Version: 12\r\n", 426),
    "a host that cannot be": ("Host: \xff\r\n", 400),
}


@pytest.fixture
async def upstream() -> AsyncIterator[Endpoint]:
    async with run_scripted(ScriptedService()) as endpoint:
        yield endpoint


async def connect(gateway: GatewayProcess) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = gateway.http.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def transcribe(gateway: GatewayProcess) -> None:
    async with RunningGateway(gateway.http).connect("?events=final") as websocket:
        await websocket.send(b"abcd")
        await websocket.send(END)
        assert (await read_to_close(websocket)).messages[-1]["transcript"] == " 4"


async def test_silent_connections_lock_nobody_out(upstream: Endpoint):
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(start_gateway(upstream))
        resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
        # One that began before goes on.
        live = await stack.enter_async_context(RunningGateway(gateway.http).connect())
        await live.send(b"abcd")
        await read_until(live, "token")
        for _ in range(SILENT):
            _, writer = await connect(gateway)
            stack.callback(writer.close)
        for _ in range(5):
            await transcribe(gateway)
        await live.send(b"abcd")
        await read_until(live, "token")
        await live.close()
        gateway.process.terminate()
        assert await gateway.wait() == 0
        assert gateway.process.stderr is not None
        log = await gateway.process.stderr.read()
    assert len(log) < 64 * 1024
    assert b"Traceback" not in log


async def test_the_limit_of_connections_lies_below_the_descriptors(upstream: Endpoint):
    """A gateway that starts with few descriptors accepts no more than it can serve."""
    with few_descriptors():
        context = start_gateway(upstream)
        gateway = await context.__aenter__()
    try:
        writers = [(await connect(gateway))[1] for _ in range(SILENT)]
        for _ in range(5):
            await transcribe(gateway)
        # The files of the page need descriptors too.
        assert (await RunningGateway(gateway.http).get("/")).status_code == 200
        for writer in writers:
            writer.close()
        gateway.process.terminate()
        assert await gateway.wait() == 0
        log = await gateway.read_log()
    finally:
        await context.__aexit__(None, None, None)
    assert "fewer connections than configured" in [line["event"] for line in log]
    assert "cannot accept a connection" not in [line["event"] for line in log]


@contextlib.contextmanager
def few_descriptors():
    """What is started in the block inherits a limit, which it cannot raise."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    original = asyncio.create_subprocess_exec

    async def create(*arguments, **options):
        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))

        return await original(*arguments, **options, preexec_fn=limit)

    asyncio.create_subprocess_exec = create
    try:
        yield
    finally:
        asyncio.create_subprocess_exec = original
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


@dataclass
class OddGateway:
    """A gateway whose connections stay open until it has ended."""

    process: GatewayProcess
    writers: list[asyncio.StreamWriter]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await connect(self.process)
        self.writers.append(writer)
        return reader, writer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def odd_gateway() -> AsyncIterator[OddGateway]:
    async with (
        run_scripted(ScriptedService()) as endpoint,
        start_gateway(endpoint, "--grace", "0.5") as gateway,
    ):
        odd = OddGateway(gateway, [])
        yield odd
        gateway.process.terminate()
        assert await gateway.wait() == 0
        log = await gateway.read_log()
        for writer in odd.writers:
            writer.close()
    assert [line for line in log if "exception" in line or line["level"] == "error"] == []
    lines = Counter(line["event"] for line in log if line["level"] == "warning")
    # One line for many: at once, and what came since at the end or after ten seconds.
    assert max(lines.values()) <= 3


@pytest.mark.parametrize(("headers", "status"), ODD_HANDSHAKES.values(), ids=ODD_HANDSHAKES)
@pytest.mark.asyncio(loop_scope="module")
async def test_every_handshake_is_answered(odd_gateway: OddGateway, headers: str, status: int):
    reader, writer = await odd_gateway.connect()
    writer.write(HANDSHAKE.encode() + headers.encode("latin-1") + b"\r\n")
    async with asyncio.timeout(5):
        answer = await reader.readline()
    assert answer.split()[1] == str(status).encode()


@pytest.mark.asyncio(loop_scope="module")
async def test_a_connection_that_says_nothing_is_closed(odd_gateway: OddGateway):
    silent, _ = await odd_gateway.connect()
    trickling, writer = await odd_gateway.connect()
    writer.write(b"GET / HTTP/1.1\r\nX: ")

    async def trickle() -> None:
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.5)

    trickles = asyncio.create_task(trickle())
    async with asyncio.timeout(15):
        assert await silent.read() == b""
        assert await trickling.read() == b""
    trickles.cancel()
