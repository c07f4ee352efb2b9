"""Accepting connections, within limits and with one log line for what goes wrong.

asyncio's own server accepts without a limit, and where descriptors run out it logs a traceback for
each place of its backlog, again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable, Sequence

from gateway.serving.connections import HANDSHAKE_S, Connection, ConnectionTable
from stt_service.process.logs import OccasionalLog

MakeProtocol = Callable[[Connection], asyncio.Protocol]
FindContext = Callable[[], ssl.SSLContext | None]

ACCEPTS_PER_TURN = 16
SEND_BUFFER_BYTES = 128 * 1024
"""Of the system, for each connection; Linux doubles it for its own bookkeeping."""
RETRY_S = 0.05
SWEEP_S = 0.5

_FULL_RESPONSE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
    b"Connection: close\r\n\r\n"
)
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts at listening sockets and gives each connection its protocol.

    `find_context` is asked at each connection, so that new ones get renewed certificates.
    """

    def __init__(
        self,
        table: ConnectionTable,
        make_protocol: MakeProtocol,
        find_context: FindContext,
        log: OccasionalLog,
    ) -> None:
        self._table = table
        self._make_protocol = make_protocol
        self._find_context = find_context
        self._log = log
        self._listening: list[socket.socket] = []
        self._handshakes: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Handle | None = None

    def start(self, listening: Sequence[socket.socket]) -> None:
        """Accept until `close`."""
        self._listening = list(listening)
        for each in listening:
            each.setblocking(False)
            asyncio.get_running_loop().add_reader(each, self._accept_some, each)
        self._sweep()

    def close(self) -> None:
        """Accept no more, and stop listening."""
        loop = asyncio.get_running_loop()
        for each in self._listening:
            loop.remove_reader(each)
            each.close()
        self._listening.clear()
        for handshake in self._handshakes:
            handshake.cancel()

    async def end_all(self) -> None:
        """End every connection that is left."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._table.end_all()
        await asyncio.gather(*self._handshakes)
        self._log.flush(everything=True)

    def _accept_some(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_RESOURCES:
                    raise
                self._wait_for_resources(listening, error)
                return
            self._take_in(accepted)

    def _take_in(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        # Messages are small: without this, Linux keeps megabytes for a client that does not read.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        connection = self._table.add(accepted)
        if connection is None:
            self._log.warning("connection refused", limit=self._table.limit)
            _turn_away(accepted, plain=self._find_context() is None)
            return
        handshake = asyncio.create_task(self._shake_hands(accepted, connection))
        self._handshakes.add(handshake)
        handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, accepted: socket.socket, connection: Connection) -> None:
        context = self._find_context()
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._make_protocol(connection),
                accepted,
                ssl=context,
                ssl_handshake_timeout=None if context is None else HANDSHAKE_S,
            )
            connection.transport = transport
        except asyncio.CancelledError:
            connection.note_closed()
            accepted.close()
        except OSError as error:
            # Not TLS, an unknown version, or gone meanwhile. A TimeoutError is one too.
            connection.note_closed()
            accepted.close()
            self._log.warning("TLS handshake failed", error=str(error))

    def _wait_for_resources(self, listening: socket.socket, error: OSError) -> None:
        """Make room and try again soon: level-triggered, the reader would be called at once."""
        self._table.shrink()
        self._log.warning(
            "cannot accept a connection", error=error.strerror, limit=self._table.limit
        )
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)
        loop.call_later(RETRY_S, self._resume, listening)

    def _resume(self, listening: socket.socket) -> None:
        if listening in self._listening:
            asyncio.get_running_loop().add_reader(listening, self._accept_some, listening)

    def _sweep(self) -> None:
        overdue = self._table.end_overdue()
        if overdue:
            self._log.warning("connections without a request closed", latest=overdue)
        self._log.flush()
        self._sweeping = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


def _turn_away(accepted: socket.socket, *, plain: bool) -> None:
    with contextlib.suppress(OSError):
        if plain:
            accepted.send(_FULL_RESPONSE)
    accepted.close()
