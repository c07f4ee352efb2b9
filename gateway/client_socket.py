"""The client's side of a session: its WebSocket, as whole messages and a close."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from gateway.closing import CLIENT_GONE, Closing, close_for_too_big, close_for_violation
from gateway.config import GatewayConfig
from gateway.metrics import GatewayMetrics
from gateway.protocols.codec import Door, Farewell, Handshake, Message
from gateway.serving import extensions


class ClientSocket:
    """One WebSocket. Every method that sends raises `WebSocketDisconnect` if the client is gone."""

    def __init__(
        self,
        websocket: WebSocket,
        door: Door,
        config: GatewayConfig,
        metrics: GatewayMetrics,
        connection: str,
    ) -> None:
        self._websocket = websocket
        self._door = door
        largest = config.max_message_bytes
        self._max_message_bytes = min(largest, door.max_message_bytes or largest)
        self._metrics = metrics
        headers = dict(websocket.headers.items())
        self.handshake = Handshake(websocket.url.query, headers, connection)

    @property
    def address(self) -> str:
        """Where the client connects from."""
        return address_of(self._websocket.scope)

    async def accept(self) -> None:
        """Answer the handshake."""
        if self._door.is_framed:
            self._tell_server("keep_whole", self._max_message_bytes)
        try:
            await self._websocket.accept(self._door.choose_subprotocol(self.handshake))
        except (OSError, RuntimeError) as error:
            # The client disconnected before the handshake was complete.
            raise WebSocketDisconnect from error

    def note_admission(self) -> None:
        """The session has a slot: its audio may come as fast as live audio does."""
        self._tell_server("admit")

    async def receive(self) -> Message | Closing:
        """The next message, or how the session ends."""
        message: Any = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            return CLIENT_GONE
        if (violation := message.get("violation")) is not None:
            code, fault = violation
            return close_for_violation(code, fault, self._max_message_bytes)
        binary: bytes | None = message.get("bytes")
        said: Message = (message.get("text") or "") if binary is None else binary
        if len(said) > self._max_message_bytes:
            return close_for_too_big(self._max_message_bytes)
        return said

    async def send(self, messages: Iterable[Message], kind: str) -> None:
        """Send messages, as fast as the client reads them; `kind` is their type in the metrics."""
        for message in messages:
            try:
                if isinstance(message, str):
                    await self._websocket.send_text(message)
                else:
                    await self._websocket.send_bytes(message)
            except RuntimeError as error:
                # Starlette and uvicorn raise this when the connection broke before its close was
                # read.
                raise WebSocketDisconnect from error
            self._metrics.messages.labels(kind).inc()

    async def say_goodbye(self, farewell: Farewell) -> None:
        """Send the last messages and close. For a client that may be gone."""
        # Starlette raises RuntimeError where the other side has closed already.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self.send(farewell.messages, "error")
            await self._websocket.close(farewell.code, farewell.text)

    def _tell_server(self, what: str, *arguments: int) -> None:
        extensions.tell_server(self._websocket.scope, extensions.STREAM, what, *arguments)


def address_of(scope: Scope) -> str:
    """Where a client connects from."""
    client: tuple[str, int] | None = scope.get("client")
    return client[0] if client else "unknown"


async def refuse(websocket: WebSocket, answer: Response) -> None:
    """Answer a WebSocket's handshake as an ordinary request."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(answer)
    else:
        # Without that extension, an ASGI server answers a close before the accept with 403.
        await websocket.close()
