"""One client in many loops and threads, in a notebook, interrupted, and after its close."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from client.audio import ArraySource
from client.blocking import BlockingSttClient
from client.options import FloatArray
from client.rpc.errors import CallCancelled
from client.rpc.events import Final, Ready
from client.stream import SttClient, WebSocketSttClient
from tests.support import Recording, Service

PROTOCOLS = ["grpc", "websocket"]
Client = SttClient | WebSocketSttClient


def make_client(service: Service, protocol: str) -> Client:
    return (
        SttClient(service.grpc) if protocol == "grpc" else WebSocketSttClient(service.websocket_url)
    )


def connections_to(service: Service) -> int:
    """How many connections to it this process holds, as Linux lists them."""
    ports = {int(address.rpartition(":")[2]) for address in (service.grpc, service.http)}
    inodes: set[str] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    # gRPC's sockets are IPv6 ones that carry IPv4.
    tables = [Path("/proc/self/net", name).read_text() for name in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()[1:]]
    return sum(
        fields[9] in inodes and int(fields[2].rpartition(":")[2], 16) in ports for fields in lines
    )


async def wait_until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await is_so():  # noqa: ASYNC110 - nobody tells when another process is ready
            await asyncio.sleep(0.05)


@pytest.fixture
def said(beginnings: tuple[Recording, ...]) -> Callable[[], ArraySource]:
    samples = beginnings[0].samples()
    return lambda: ArraySource(samples)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_outlives_its_loop(
    service: Service, protocol: str, said: Callable[[], ArraySource]
) -> None:
    client = make_client(service, protocol)
    texts = [asyncio.run(client.transcribe(said())).transcript for _ in range(3)]
    asyncio.run(client.aclose())
    asyncio.run(client.aclose())

    assert texts[0].strip()
    assert texts == [texts[0]] * 3
    gc.collect()
    assert connections_to(service) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_client_serves_several_threads_at_once(
    service: Service, protocol: str, said: Callable[[], ArraySource]
) -> None:
    client = make_client(service, protocol)
    texts: list[str] = []

    def run() -> None:
        for _ in range(2):
            texts.append(asyncio.run(client.transcribe(said())).transcript)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(client.aclose())

    assert texts == [texts[0]] * 6
    gc.collect()
    assert connections_to(service) == 0


async def test_a_close_reaches_the_channel_of_a_loop_that_runs_elsewhere(service: Service) -> None:
    client = SttClient(service.grpc)
    asked, may_end = threading.Event(), threading.Event()

    async def ask() -> None:
        await client.fetch_server_info()
        asked.set()
        await asyncio.to_thread(may_end.wait)

    thread = threading.Thread(target=lambda: asyncio.run(ask()))
    thread.start()
    await asyncio.to_thread(asked.wait)
    await client.fetch_server_info()
    assert connections_to(service) == 2
    await client.aclose()

    async def are_gone() -> bool:
        return connections_to(service) == 0

    await wait_until(are_gone)
    may_end.set()
    thread.join()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_closed_client_says_so(
    service: Service, protocol: str, said: Callable[[], ArraySource]
) -> None:
    client = make_client(service, protocol)
    await client.aclose()
    with pytest.raises(CallCancelled, match="was closed"):
        await client.transcribe(said())


async def test_a_stream_of_a_closed_client_fails_and_does_not_come_back(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    client = SttClient(service.grpc)
    async with client.stream(ArraySource(recordings[0].samples(), pace=1.0)) as events:
        with pytest.raises(CallCancelled):
            async for event in events:
                if isinstance(event, Ready):
                    await client.aclose()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_blocking_client_inside_a_running_loop(
    service: Service, protocol: str, said: Callable[[], ArraySource]
) -> None:
    """As in a cell of a notebook: nothing that was heard is lost at the close."""
    with BlockingSttClient(make_client(service, protocol)) as client:
        final = client.transcribe(said())
        events = list(client.stream(said()))
    client.close()

    assert final.transcript.strip()
    assert isinstance(events[-1], Final)
    assert events[-1].transcript == final.transcript


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_closed_blocking_client_says_so(
    service: Service, protocol: str, said: Callable[[], ArraySource]
) -> None:
    client = BlockingSttClient(make_client(service, protocol))
    left_open = client.stream(said())
    assert isinstance(next(left_open), Ready)
    client.close()

    for call in (lambda: client.transcribe(said()), lambda: next(left_open)):
        with pytest.raises(CallCancelled, match="was closed"):
            call()
    left_open.close()


def test_a_source_that_says_nothing_holds_up_no_close(service: Service) -> None:
    blocks: queue.Queue[FloatArray] = queue.Queue()
    blocks.put(np.zeros(24_000, np.float32))

    def wait_for_blocks() -> Iterator[FloatArray]:
        while True:
            yield blocks.get()

    with BlockingSttClient(SttClient(service.grpc)) as client:
        for event in client.stream(wait_for_blocks()):
            assert isinstance(event, Ready)
            break


def test_an_error_of_the_source_comes_out(service: Service) -> None:
    def fail_soon() -> Iterator[FloatArray]:
        yield np.zeros(2400, np.float32)
        raise OSError("the disk is gone")

    with BlockingSttClient(SttClient(service.grpc)) as client, pytest.raises(OSError, match="gone"):
        client.transcribe(fail_soon())


SCRIPT = """
import asyncio, sys
from client.audio import FileSource
from client.blocking import BlockingSttClient
from client.stream import SttClient, WebSocketSttClient

address, recording, way = sys.argv[1:]
make = SttClient if "://" not in address else WebSocketSttClient

def main():
    with BlockingSttClient(make(address)) as client:
        print("called", flush=True)
        if way == "transcribe":
            client.transcribe(FileSource(recording, pace=0.05))
        for event in client.stream(FileSource(recording, pace=0.05)):
            print(type(event).__name__, flush=True)

try:
    main()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("way", ["transcribe", "stream"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ctrl_c_ends_a_blocking_call(
    service: Service, recordings: tuple[Recording, ...], protocol: str, way: str
) -> None:
    address = service.grpc if protocol == "grpc" else service.websocket_url
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, address, str(recordings[0].path), way],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "called\n"
    if way == "stream":
        assert process.stdout.readline() == "Ready\n"
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)

    assert (output.splitlines()[-1:], errors, process.returncode) == (["interrupted"], "", 0)


async def test_a_task_that_is_cancelled_while_it_connects_leaves_nothing_behind(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    """Cancelled after every number of turns of the loop, from the first step to the first words."""
    for protocol in PROTOCOLS:
        client = make_client(service, protocol)
        for turns in range(0, 120, 4):
            task = asyncio.create_task(consume(client, recordings[0].samples()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await client.aclose()
    async with SttClient(service.grpc) as asking:

        async def are_free() -> bool:
            info = await asking.fetch_server_info()
            return info.slots_free == info.slots_total

        await wait_until(are_free)
    assert len(asyncio.all_tasks()) == 1


async def consume(client: Client, samples: FloatArray) -> None:
    async def endless() -> AsyncIterator[FloatArray]:
        yield samples
        await asyncio.Event().wait()

    async with client.stream(endless()) as events:
        async for _ in events:
            pass
