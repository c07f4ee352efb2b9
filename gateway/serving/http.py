"""HTTP/1.1 by uvicorn, with deadlines, and with a WebSocket of our own."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from gateway.serving import extensions
from gateway.serving.connections import Connection
from gateway.serving.websocket import Shared, WebSocketProtocol
from stt_service.process.listening import without_mapping

MAX_HEAD_BYTES = 16 * 1024
"""Request line and headers."""


class HttpProtocol(H11Protocol):
    """A connection before it becomes a WebSocket, or one that loads the page.

    The scope of a request has an extension of ours, `stt.request`: an application that takes long
    calls its `note_progress` now and then, so that the connection is not closed meanwhile.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        connection: Connection,
        shared: Shared,
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._connection = connection
        self._shared = shared
        self._latest_cycle: object = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note who calls, IPv4 callers by their own address at a socket of both families too.

        It is what the log says, and what is compared with the networks of trusted proxies.
        """
        super().connection_made(transport)
        if self.client is not None:
            host, port = self.client
            self.client = without_mapping(host), port

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended and was no WebSocket."""
        self._connection.note_closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; each new request moves the deadline."""
        super().data_received(data)
        if self.cycle is not self._latest_cycle:
            self._latest_cycle = self.cycle
            self._connection.note_request()
            # The application is started in the next turn of the loop, with this very scope.
            offered: Any = self.scope.setdefault("extensions", {})
            offered[extensions.REQUEST] = {"note_progress": self._connection.note_request}

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Hand the connection over to a `WebSocketProtocol`."""
        self.connections.discard(self)
        self._connection.note_request()
        websocket = WebSocketProtocol(
            self.config, self.server_state, connection=self._connection, shared=self._shared
        )
        websocket.connection_made(self.transport)
        self.transport.set_protocol(websocket)
        early, _ = self.conn.trailing_data
        websocket.shake_hands(dict(self.scope), early)
