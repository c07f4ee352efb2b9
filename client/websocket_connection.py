"""One session over the documented WebSocket protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from client.events import Final, ServerEvent
from client.options import Encoding, FloatArray, SessionOptions
from client.rpc.errors import (
    Idle,
    InvalidRequest,
    MessageTooLarge,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    SttError,
)
from client.websocket_handshake import WebSocketAddress, shake_hands
from client.websocket_messages import Complaint, query_from, read_message

IDLE_REASON = "idle"
# What this side says in its close when the other one sent no WebSocket frame, or no UTF-8.
_PROTOCOL_FAULTS = frozenset({1002, 1007})


class WebSocketConnection:
    """A WebSocket to `/v1/stream`."""

    def __init__(self, socket: ClientConnection, encoding: Encoding) -> None:
        self._socket = socket
        self._encoding = encoding

    @classmethod
    async def open(cls, address: WebSocketAddress, options: SessionOptions) -> WebSocketConnection:
        """Shake hands. Raises the `SttError` that says why it failed."""
        return cls(await shake_hands(address, query_from(options)), options.encoding)

    async def send_audio(self, pcm: FloatArray) -> None:
        """Send mono samples at 24 kHz; waits while the server is busy."""
        await self._send(self._encoding.encode(pcm))

    async def send_flush(self, flush_id: str) -> None:
        """Ask for every word of the audio so far."""
        await self._send(json.dumps({"type": "flush", "flush_id": flush_id}))

    async def send_end(self) -> None:
        """Say that no more audio comes: finish my words."""
        await self._send(json.dumps({"type": "end"}))

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Typed events until the session ends; raises the `SttError` that says why it failed."""
        complaint = ""
        finished = False
        try:
            while True:
                event = read_message(await self._socket.recv())
                if isinstance(event, Complaint):
                    complaint = event.text
                elif event is not None:
                    yield event
                    finished = isinstance(event, Final)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            reason = closed.rcvd.reason if closed.rcvd else ""
            # After `final` there is nothing more to say; a goodbye that was lost is no failure.
            if finished and reason != IDLE_REASON and not complaint:
                return
            if closed.sent is not None and closed.sent.code in _PROTOCOL_FAULTS and code is None:
                raise ServerFailed(
                    f"The service broke the WebSocket protocol: {closed.sent.reason}."
                ) from closed
            raise error_from_close(code, reason, complaint) from closed

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.close()

    async def _send(self, message: bytes | str) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            # The reading side learns the close code and explains it.
            raise ServerUnavailable("The connection broke.") from error


def error_from_close(code: int | None, reason: str, complaint: str) -> SttError:
    """Why a session ended; `complaint` is the `error` message, None is a code that never came."""
    text = complaint or reason or f"The connection broke (close code {code})."
    match code:
        case 1000 if reason == IDLE_REASON:
            return Idle("The service ended the session because no audio came.")
        case 1000:
            return ServerFailed("The service ended the session before its end.")
        case 1003 | 1007 | 1008:
            return InvalidRequest(text)
        case 1009:
            return MessageTooLarge(text)
        case 1002 | 1011:
            return ServerFailed(text)
        case 1013 if reason == "server full":
            return ServerFull(text)
        case _:
            return ServerUnavailable(text)
