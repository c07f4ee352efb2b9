"""Every TCP connection of the process: how many there may be, and how long one may say nothing."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable

from stt_service.process.descriptors import count_connections
from stt_service.process.logs import get_logger

HANDSHAKE_S = 10.0
"""From a connection to its first complete request, a TLS handshake included."""
HTTP_S = 30.0
"""How long a connection stays after its last request, the response included."""

SPARE_CONNECTIONS = 16
"""How many fewer connections to hold when there was no descriptor for another one."""
SESSIONS_PER_UPSTREAM_CONNECTION = 50

# TCP_CLOSE and TCP_CLOSE_WAIT of linux/tcp.h.
_DESERTED = (7, 8)

_log = get_logger(__name__)


class Connection:
    """One TCP connection, from the accept to its end."""

    def __init__(self, table: ConnectionTable, accepted: socket.socket) -> None:
        self._table = table
        self._socket = accepted
        self.deadline_s: float | None = table.clock() + HANDSHAKE_S
        """When it is closed unless something happens first; None for an open WebSocket."""
        self.transport: asyncio.Transport | None = None
        """Set after the TLS handshake, if there is one."""

    def note_request(self) -> None:
        """A request has come: the connection is in use."""
        if self.deadline_s is not None:
            self.deadline_s = self._table.clock() + HTTP_S

    def note_websocket(self) -> None:
        """It is an open WebSocket, whose session has time limits of its own."""
        self.deadline_s = None

    def note_closed(self) -> None:
        """It has ended. May be called twice."""
        self._table.remove(self)

    def shut_down(self) -> None:
        """End it, whatever state it is in."""
        if self.transport is not None:
            self.transport.abort()
            return
        # In a TLS handshake, asyncio has a transport, which sees the end of the stream.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def is_deserted(self) -> bool:
        """Whether the peer has closed. A transport that does not read finds out only when it does.

        Linux only; elsewhere the next ping that is written finds out.
        """
        if sys.platform != "linux":
            return False
        try:
            state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        except OSError:
            return False
        return state in _DESERTED


class ConnectionTable:
    """The open connections, the oldest first. At most `limit`: the oldest silent one makes room."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.clock = clock
        self.gone = asyncio.Event()
        """Set while there is none."""
        self.gone.set()
        self._open: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    def add(self, accepted: socket.socket) -> Connection | None:
        """Take a new connection in; None if all places are taken by WebSockets."""
        if len(self._open) >= self.limit and not self.make_room():
            return None
        connection = Connection(self, accepted)
        self._open[connection] = None
        self.gone.clear()
        return connection

    def remove(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        if not self._open:
            self.gone.set()

    def make_room(self) -> bool:
        """End the connection that is closest to its deadline; False if all are open WebSockets."""
        silent = [connection for connection in self._open if connection.deadline_s is not None]
        if not silent:
            return False
        self._end(min(silent, key=lambda connection: connection.deadline_s or 0.0))
        return True

    def shrink(self) -> None:
        """There are fewer descriptors than expected: from now on hold fewer connections."""
        self.limit = max(1, min(self.limit, len(self._open) - SPARE_CONNECTIONS))
        while len(self._open) > self.limit and self.make_room():
            pass

    def end_overdue(self) -> int:
        """End every connection whose deadline has passed, and returns how many there were.

        Ends those too whose peer has left while they were not read.
        """
        now_s = self.clock()
        overdue = [each for each in self._open if (each.deadline_s or now_s) < now_s]
        for connection in overdue:
            self._end(connection)
        for connection in list(self._open):
            if connection.is_deserted():
                self._end(connection)
        return len(overdue)

    def end_all(self) -> None:
        """End every connection."""
        for connection in list(self._open):
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        # Forgotten at once, so that it makes room once; its descriptor follows within a moment.
        self.remove(connection)
        connection.shut_down()


def fit_to_descriptors(wanted: int) -> int:
    """The limit of connections that the process's file descriptors allow, at most `wanted`.

    Raises the process's soft limit first, as far as the system permits.
    """
    needed = wanted + wanted // SESSIONS_PER_UPSTREAM_CONNECTION
    allowed = count_connections(needed)
    if allowed == needed:
        return wanted
    share = SESSIONS_PER_UPSTREAM_CONNECTION / (SESSIONS_PER_UPSTREAM_CONNECTION + 1)
    limit = max(1, int(allowed * share))
    _log.warning("fewer connections than configured", limit=limit, wanted=wanted)
    return limit
