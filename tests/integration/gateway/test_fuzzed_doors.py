"""Random, valid and mutated messages to every door of a real gateway: none is our fault."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import struct
from collections import Counter
from collections.abc import Callable

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.protocols import DOORS
from tests.integration.gateway.door_inventor import DoorInventor, Visit, encode_frame
from tests.integration.gateway.watched import WARM_DESCRIPTORS, WatchedService

AT_ONCE = 6
LINGER_S = 0.1
TELL_EVERY = 2_000
SWITCHING = 101
SERVER_FAULT = 500
INTERNAL = "1011"
CLOSE = encode_frame(struct.pack(">H", 1000), int(Opcode.CLOSE))


async def pay(visit: Visit, address: str) -> str:
    """Send it and read to the end: the HTTP status, or the code of the close."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.closing(writer):
        writer.write(visit.request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != SWITCHING:
            assert status < SERVER_FAULT, head
            return str(status)
        with contextlib.suppress(ConnectionError):
            await send_frames(visit, writer)
        return await read_close(address, reader)


async def send_frames(visit: Visit, writer: asyncio.StreamWriter) -> None:
    for number, frame in enumerate(visit.frames):
        writer.write(frame)
        if visit.lingers and number in (0, len(visit.frames) - 1):
            await asyncio.sleep(LINGER_S)
    if not visit.ends:
        writer.write(CLOSE)
    if visit.is_broken:
        writer.write_eof()
    await writer.drain()


async def read_close(address: str, reader: asyncio.StreamReader) -> str:
    """The code of the gateway's close; "none" if the connection ends without one."""
    client = ClientProtocol(parse_uri(f"ws://{address}"), state=State.OPEN, max_size=None)
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            client.receive_data(data)
            for event in client.events_received():
                if isinstance(event, Frame) and event.opcode is Opcode.CLOSE:
                    return str(Close.parse(bytes(event.data)).code)
    return "none"


@pytest.mark.parametrize(
    "messages", [400, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_no_end_of_a_session_is_our_fault(
    watched: WatchedService, tell: Callable[[str], None], messages: int
) -> None:
    seed = random.randrange(2**32)
    inventor = DoorInventor(seed, watched.service.http)
    sent: Counter[str] = Counter()
    ends: Counter[str] = Counter()

    async def visit_again_and_again() -> None:
        while sent.total() < messages:
            visit = inventor.visit()
            sent[visit.door] += visit.inputs
            async with asyncio.timeout(60):
                end = await pay(visit, watched.service.http)
            assert end != INTERNAL, f"{visit}, seed {seed}"
            ends[end] += 1
            if ends.total() % TELL_EVERY == 0:
                tell(f"{sent.total():,} messages, {dict(ends)}")

    async with asyncio.TaskGroup() as visitors:
        for _ in range(AT_ONCE):
            visitors.create_task(visit_again_and_again())
    tell(f"{dict(sent)}, {dict(ends)}")
    assert set(sent) == {"POST", *(door.name for door in DOORS)}
    assert not re.findall(r"(?m)^\S+ error .*", watched.log.read_text())
    await watched.nothing_is_left([WARM_DESCRIPTORS] * 2)
