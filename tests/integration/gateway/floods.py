"""Sockets that send useless things as fast as they can, in a process of their own.

    python -m tests.integration.gateway.floods HOST:PORT KIND COUNT

Prints `flooding` when COUNT sockets are open, goes on until its standard input ends, and then
prints how many bytes it could send.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import selectors
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

MASK = bytes(4)
HANDSHAKE = (
    "GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
BLOCK = 10_000
FLOODS = {
    # The first frame of a binary message that is continued and never ends.
    "empty fragments": (b"\x02\x80" + MASK, b"\x00\x80" + MASK),
    "one sample a message": (b"", b"\x82\x84" + MASK + bytes(4)),
    "pings": (b"", b"\x89\x80" + MASK),
    "empty messages": (b"", b"\x82\x80" + MASK),
}


def ask_for_a_websocket(address: str) -> bytes:
    """The first line of the answer."""
    with _connect(address) as asking:
        return asking.recv(4096).partition(b"\r\n")[0]


def open_socket(address: str) -> socket.socket:
    """A WebSocket after its handshake, not blocking."""
    opened = _connect(address)
    answer = opened.recv(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    opened.setblocking(False)
    return opened


def _connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connected = socket.create_connection((host, int(port)))
    connected.sendall(HANDSHAKE.format(host=address).encode())
    return connected


def open_flood(address: str, kind: str) -> socket.socket:
    """A socket with the beginning of its flood sent."""
    flooding = open_socket(address)
    flooding.send(FLOODS[kind][0])
    return flooding


def main(address: str, kind: str, count: int) -> None:
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    block = FLOODS[kind][1] * BLOCK
    for _ in range(count):
        selector.register(open_flood(address, kind), selectors.EVENT_WRITE, [block])
    print("flooding", flush=True)
    sent = 0
    while True:
        for key, _ in selector.select():
            if key.data is None:
                os.write(1, b"%d\n" % sent)
                return
            try:
                taken = key.fileobj.send(key.data[0])
            except OSError:
                # The gateway has closed it: come back.
                selector.unregister(key.fileobj)
                key.fileobj.close()
                selector.register(open_flood(address, kind), selectors.EVENT_WRITE, [block])
                continue
            sent += taken
            key.data[0] = key.data[0][taken:] or block


@contextlib.asynccontextmanager
async def flood(address: str, kind: str, count: int) -> AsyncIterator[None]:
    """Flood an address while the block runs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, address, kind, str(count)), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert await process.stdout.readline() == b"flooding\n"
        yield
        process.stdin.close()
        assert int(await process.stdout.readline()) > 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
