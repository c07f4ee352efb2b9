"""Short connections over each protocol, ended in each way at each moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import re
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

import h2.config
import h2.connection
import h2.errors
import h2.events
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from stt.v1 import stt_pb2
from tests.unit.client.rpc.http2_edge import STREAM_METHOD

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse

# A leaked session would hold its slot for ten minutes, so no test can pass by waiting for it.
FORGOTTEN_S = 600
PAGE_QUERY = "events=word,final,ready&timing=1"
AUDIO = bytes(4 * 24_000)
AT_ONCE = 8
# About as long as an admission takes, so that leaving falls before, during and after it.
MAX_DALLY_S = 0.03
ANSWER_TIMEOUT_S = 20.0
READ_BYTES = 65536
CLOSE = Frame(Opcode.CLOSE, struct.pack(">H", 1000))


class Moment(StrEnum):
    """When the visitor leaves."""

    ASKED = "before the answer"
    OPEN = "when the connection is open"
    READY = "when admitted"
    FLUSHING = "in the middle of a flush"


class Manner(StrEnum):
    """How the visitor leaves."""

    POLITE = "says goodbye"
    DROP = "closes the TCP connection"
    HALF_CLOSE = "closes its own direction only"
    RESET = "resets the TCP connection"


@dataclass(frozen=True)
class Visit:
    """One short connection."""

    moment: Moment
    manner: Manner
    audio: bool
    dally_s: float = 0.0
    """How long the visitor waits before leaving."""


VISITS = [
    Visit(moment, manner, audio)
    for moment, manner, audio in itertools.product(Moment, Manner, (False, True))
]
Door = Callable[[Visit], Awaitable[None]]


class Line:
    """A TCP connection that can be ended in each way."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, address: str) -> AsyncGenerator[Line]:
        """Connect. It is closed at the end of the block in any case."""
        host, port = address.rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def leave(self, manner: Manner, goodbye: bytes = b"") -> None:
        """Leave. If the other side has something to read first, wait until it has closed too."""
        if manner is Manner.RESET:
            # SO_LINGER of zero makes the close a reset.
            self._writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self._writer.transport.abort()
            return
        with contextlib.suppress(ConnectionError):
            if manner is Manner.POLITE:
                self.send(goodbye)
                await self._writer.drain()
            if manner is Manner.HALF_CLOSE:
                self._writer.write_eof()
                await self.read_to_end()
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def read_to_end(self) -> None:
        """Read until the other side has closed."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while await self.reader.read(READ_BYTES):
                pass


async def visit_websocket(http: str, visit: Visit, query: str = "events=ready") -> None:
    """One socket to `/v1/stream`."""
    url = f"ws://{http}/v1/stream?{query}&idle_timeout={FORGOTTEN_S}"
    protocol = ClientProtocol(parse_uri(url), max_size=None)
    async with Line.open(http) as line:

        def flush() -> bytes:
            return b"".join(protocol.data_to_send())

        events: deque[object] = deque()

        async def read_until(wanted: Callable[[object], bool]) -> bool:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    events.extend(protocol.events_received())
                    while events:
                        if wanted(events.popleft()):
                            return True
                    try:
                        data = await line.reader.read(READ_BYTES)
                    except ConnectionError:
                        return False
                    if not data:
                        return False
                    protocol.receive_data(data)

        protocol.send_request(protocol.connect())
        line.send(flush())
        if visit.moment is Moment.ASKED:
            await asyncio.sleep(visit.dally_s)
            # The client need not wait for the answer.
            return await line.leave(visit.manner, CLOSE.serialize(mask=True))
        if not await read_until(lambda event: True) or protocol.state is not State.OPEN:
            # Nobody listens, or the handshake was refused.
            return await line.leave(visit.manner)
        if visit.audio:
            protocol.send_binary(AUDIO)
            line.send(flush())
        if visit.moment is Moment.OPEN:
            await asyncio.sleep(visit.dally_s)
        else:
            await read_until(_says_ready)
        if protocol.state is State.OPEN and visit.moment is Moment.FLUSHING:
            protocol.send_text(b'{"type":"flush","flush_id":"1"}')
        if protocol.state is State.OPEN and visit.manner is Manner.POLITE:
            protocol.send_close(1000)
        await line.leave(visit.manner, flush())


def _says_ready(event: object) -> bool:
    return isinstance(event, Frame) and (
        event.opcode is Opcode.CLOSE or b'"ready"' in bytes(event.data)
    )


async def visit_page(http: str, visit: Visit) -> None:
    """The page, all that it loads, and the socket that it opens."""
    async with Line.open(http) as line:
        paths = ["/"]
        seen = set(paths)
        try:
            while paths:
                text = await _get(line, http, paths.pop())
                found = re.findall(
                    r'(?:src|href|from|import)\s*[=(]?\s*"\.?/?([\w./-]+\.\w+)"', text
                )
                new = {f"/{path}" for path in found} - seen
                seen |= new
                paths += sorted(new)
            await visit_websocket(http, visit, PAGE_QUERY)
            # The next page is requested, and its answer not read.
            line.send(f"GET /style.css HTTP/1.1\r\nHost: {http}\r\n\r\n".encode())
        finally:
            manner = Manner.DROP if visit.manner is Manner.POLITE else visit.manner
            await line.leave(manner)


async def _get(line: Line, http: str, path: str) -> str:
    line.send(f"GET {path} HTTP/1.1\r\nHost: {http}\r\n\r\n".encode())
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?im)^content-length: (\d+)", head)
        body = await line.reader.readexactly(int(length[1])) if length else b""
    return body.decode(errors="replace")


class Call:
    """A `StreamingTranscribe` call, frame by frame."""

    def __init__(self, line: Line, address: str) -> None:
        self._line = line
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http2.initiate_connection()
        self._id = self.http2.get_next_available_stream_id()
        place = [(":method", "POST"), (":scheme", "http"), (":authority", address)]
        kind = [("te", "trailers"), ("content-type", "application/grpc")]
        self.http2.send_headers(self._id, [*place, (":path", STREAM_METHOD), *kind])
        config = stt_pb2.StreamingConfig()
        config.idle_timeout.FromSeconds(FORGOTTEN_S)
        self.send(Request(config=config))

    def send(self, request: Request) -> None:
        payload = request.SerializeToString()
        data = struct.pack(">BI", 0, len(payload)) + payload
        # A visitor in a hurry does not wait for flow control.
        self.http2.send_data(self._id, data[: self.http2.local_flow_control_window(self._id)])

    def flush(self) -> None:
        self._line.send(self.http2.data_to_send())

    def cancel(self) -> None:
        with contextlib.suppress(h2.exceptions.StreamClosedError):
            self.http2.reset_stream(self._id, h2.errors.ErrorCodes.CANCEL)
        self.http2.close_connection()

    async def read_until(self, kind: type[h2.events.Event]) -> None:
        """Read until there is such an event, or the call has ended."""
        self.flush()
        ends = (kind, h2.events.StreamEnded, h2.events.StreamReset)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while data := await self._line.reader.read(READ_BYTES):
                events = self.http2.receive_data(data)
                self.flush()
                if any(isinstance(event, ends) for event in events):
                    return


async def visit_grpc(address: str, visit: Visit) -> None:
    """One `StreamingTranscribe` call on a connection of its own."""
    async with Line.open(address) as line:
        call = Call(line, address)
        if visit.audio:
            for start in range(0, len(AUDIO) // 4, 8192):
                call.send(Request(audio=AUDIO[start : start + 8192]))
        match visit.moment:
            case Moment.ASKED:
                call.flush()
                await asyncio.sleep(visit.dally_s)
            case Moment.OPEN:
                await call.read_until(h2.events.ResponseReceived)
            case Moment.READY | Moment.FLUSHING:
                await call.read_until(h2.events.DataReceived)
        if visit.moment is Moment.FLUSHING:
            call.send(Request(flush=stt_pb2.Flush(flush_id="1")))
        call.flush()
        if visit.manner is Manner.POLITE:
            call.cancel()
        await line.leave(visit.manner, call.http2.data_to_send())


async def visit_often(
    doors: Iterable[Door], count: int, visits: Iterable[Visit] = VISITS, seed: int = 0
) -> None:
    """`count` visits over all protocols, in all ways and moments, some at a time."""
    order = random.Random(seed)
    kinds = list(itertools.product(doors, visits))
    plan = [kind for _ in range(-(-count // len(kinds))) for kind in kinds]
    order.shuffle(plan)
    todo: Iterator[tuple[Door, Visit]] = iter(plan[:count])

    async def come_and_go() -> None:
        for door, visit in todo:
            await door(replace(visit, dally_s=order.uniform(0.0, MAX_DALLY_S)))

    async with asyncio.TaskGroup() as visitors:
        for _ in range(AT_ONCE):
            visitors.create_task(come_and_go())


def doors_of(http: str, address: str) -> list[Door]:
    """By WebSocket, by page, by gRPC."""
    return [partial(visit_websocket, http), partial(visit_page, http), partial(visit_grpc, address)]
