"""What is no WebSocket message, or none that means anything: a documented close and a quiet log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.uri import parse_uri

from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    read_to_close,
    run_gateway,
    run_scripted,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

MASK = bytes(4)
BREACHES = {
    "text that is not UTF-8": (b"\x81\x82" + MASK + b"\xff\xfe", 1007, "not UTF-8"),
    "text that ends within a character": (b"\x81\x81" + MASK + b"\xc3", 1007, "not UTF-8"),
    "no mask": (b"\x82\x03abc", 1002, "unmasked"),
    "an unknown opcode": (b"\x83\x80" + MASK, 1002, "opcode"),
    "reserved bits": (b"\xf2\x80" + MASK, 1002, "Reserved bit"),
    "a continuation of nothing": (b"\x80\x80" + MASK, 1002, ""),
    "a ping of 126 bytes": (b"\x89\xfe\x00\x7e" + MASK + bytes(126), 1002, ""),
    "another protocol": (b"GET / HTTP/1.1\r\n\r\n", 1002, ""),
    "text that is no command": (b"\x81\x82" + MASK + b"hi", 1008, "not JSON"),
    "text of 10,000 characters": (
        b"\x81\xfe" + struct.pack(">H", 10_000) + MASK + bytes(10_000),
        1008,
        "longer than",
    ),
}
INTERNAL = 1011


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:
        yield gateway


@pytest.mark.parametrize(("breach", "code", "says"), BREACHES.values(), ids=BREACHES)
async def test_a_breach_has_its_close_and_says_why(
    gateway: RunningGateway,
    caplog: pytest.LogCaptureFixture,
    breach: bytes,
    code: int,
    says: str,
):
    async with gateway.connect("?events=") as websocket:
        websocket.transport.write(breach)
        async with asyncio.timeout(5):
            ended = await read_to_close(websocket)
    assert (ended.code, ended.messages[-1]["reason"]) == (code, "INVALID_REQUEST")
    assert says in ended.error
    assert complaints(caplog) == []


FRAMES = st.builds(
    lambda opcode, data, fin, bits: (
        bytes([bits | (0x80 if fin else 0) | opcode, 0x80 | len(data)]) + MASK + data
    ),
    st.sampled_from([0, 1, 2, 8, 9, 10, 3, 11]),
    st.binary(max_size=60),
    st.booleans(),
    st.sampled_from([0, 0, 0, 0x10, 0x40]),
)


@given(garbage=st.lists(st.one_of(FRAMES, st.binary(max_size=40)), min_size=1, max_size=20))
@settings(
    max_examples=150,
    deadline=None,
    # The gateway and its log are the same for all examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_garbage_is_never_our_fault(
    gateway: RunningGateway, caplog: pytest.LogCaptureFixture, garbage: list[bytes]
):
    host, _, port = gateway.http.rpartition(":")
    client = ClientProtocol(parse_uri(f"ws://{gateway.http}/v1/stream"), max_size=None)
    reader, writer = await asyncio.open_connection(host, int(port))
    client.send_request(client.connect())
    writer.writelines(client.data_to_send())
    client.receive_data(await reader.readuntil(b"\r\n\r\n"))
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        writer.write(b"".join(garbage))
        # The end; the garbage may have begun a frame, which this then is part of.
        writer.write(Frame(Opcode.CLOSE, struct.pack(">H", 1000)).serialize(mask=True))
        writer.write_eof()
        async with asyncio.timeout(10):
            client.receive_data(await reader.read())
    closes = [event for event in client.events_received() if getattr(event, "opcode", 0) == 8]
    # The client's own codes come back; 1011 would be a fault of ours.
    assert all(Close.parse(bytes(close.data)).code != INTERNAL for close in closes)
    assert complaints(caplog) == []


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR or record.exc_info is not None
    ]
