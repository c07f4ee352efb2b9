"""Many sessions through one gateway, with an edge that allows 100 calls per connection.

Envoy's best practices for edge proxies set max_concurrent_streams to 100
(https://www.envoyproxy.io/docs/envoy/latest/configuration/best_practices/edge). gRPC silently holds
call 101 back until another ends.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from client.rpc.channels import MAX_STREAMS_PER_CHANNEL
from client.rpc.endpoint import Endpoint
from tests.integration.edge.nginx import find_nginx, run_edge
from tests.integration.gateway.harness import (
    ScriptedService,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become

MAX_STREAMS = 100
CROWD = 150
END = '{"type":"end"}'


@contextlib.asynccontextmanager
async def own_limit(service: ScriptedService, _folder: Path) -> AsyncIterator[Endpoint]:
    """The service itself limits its HTTP/2 streams."""
    async with run_scripted(service, most_streams=MAX_STREAMS) as endpoint:
        yield endpoint


@contextlib.asynccontextmanager
async def nginx_in_front(service: ScriptedService, folder: Path) -> AsyncIterator[Endpoint]:
    """An edge with TLS limits the streams."""
    async with (
        run_scripted(service) as behind,
        run_edge(folder, str(behind), most_calls=1000, most_streams=MAX_STREAMS) as edge,
    ):
        yield edge.endpoint()


@pytest.mark.parametrize(
    "serve",
    [
        own_limit,
        pytest.param(
            nginx_in_front,
            marks=pytest.mark.skipif(find_nginx() is None, reason="nginx is not installed"),
        ),
    ],
)
async def test_all_sessions_are_admitted_and_unary_calls_answered_meanwhile(serve, tmp_path: Path):
    service = ScriptedService()
    async with serve(service, tmp_path) as endpoint, run_gateway(endpoint) as gateway:
        async with contextlib.AsyncExitStack() as crowd:

            async def come_in() -> None:
                websocket = await crowd.enter_async_context(gateway.connect("?events=ready,final"))
                await read_until(websocket, "ready")
                await websocket.send(b"abcd")
                await read_until(websocket, "token")
                inside.append(websocket)

            inside = []
            async with asyncio.timeout(60):
                await asyncio.gather(*(come_in() for _ in range(CROWD)))
            assert len(service.calls) == CROWD
            assert count_connections(endpoint) >= CROWD / MAX_STREAMS_PER_CHANNEL
            assert (await gateway.get("/readyz")).status_code == 200
            assert (await gateway.get("/v1/info")).json()["model_name"] == "scripted"
            # Sessions on the later connections are served to their end too.
            await inside[-1].send(END)
            assert (await read_to_close(inside[-1])).messages[-1]["transcript"] == " 4"
        await become(
            lambda: all(call.ended.is_set() for call in service.calls), lambda: "calls are left"
        )
        # One is kept for the next session, one for unary calls.
        await become(lambda: count_connections(endpoint) <= 2, lambda: "connections are left")


def count_connections(endpoint: Endpoint) -> int:
    """Connections from this machine that are open at the endpoint."""
    established = "01"
    # gRPC connects through IPv6 sockets to IPv4 addresses too.
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [line.split() for table in tables for line in table.read_text().splitlines()[1:]]
    return sum(
        int(row[2].rpartition(":")[2], 16) == endpoint.port and row[3] == established
        for row in rows
    )


async def test_many_waiting_sessions_do_not_delay_readyz():
    async with contextlib.AsyncExitStack() as crowd:
        service = ScriptedService()
        async with run_scripted(service) as endpoint:
            pass
        gateway = await crowd.enter_async_context(run_gateway(endpoint, ping_interval_s=0.1))
        for _ in range(CROWD):
            await crowd.enter_async_context(gateway.connect())
        assert (await gateway.get("/readyz")).status_code == 503
