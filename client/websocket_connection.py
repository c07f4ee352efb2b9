"""One session over the documented WebSocket protocol."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from client.options import Encoding, FloatArray, SessionOptions
from client.rpc.errors import (
    Idle,
    InvalidAudio,
    InvalidRequest,
    MessageTooLarge,
    ServerDraining,
    ServerFailed,
    ServerUnavailable,
    SttError,
    error_from_reason,
)
from client.rpc.events import Final, ServerEvent
from client.rpc.reasons import Reason
from client.rpc.retry import OnWait
from client.websocket_handshake import WebSocketAddress, shake_hands
from client.websocket_messages import ErrorMessage, decode_message, encode_query

IDLE_TEXT = "idle"
# The codes with which this side closes after invalid frames or invalid UTF-8.
_PROTOCOL_FAULTS = frozenset({1002, 1007})


class WebSocketConnection:
    """A WebSocket to `/v1/stream`."""

    def __init__(self, socket: ClientConnection, encoding: Encoding) -> None:
        self._socket = socket
        self._encoding = encoding

    @classmethod
    async def open(
        cls, address: WebSocketAddress, options: SessionOptions, on_wait: OnWait | None = None
    ) -> WebSocketConnection:
        """Shake hands, as `shake_hands` does. Raises the `SttError` that says why it failed."""
        return cls(await shake_hands(address, encode_query(options), on_wait), options.encoding)

    async def send_audio(self, pcm: FloatArray) -> None:
        """Send mono samples at 24 kHz; waits while the server is busy."""
        await self._send(self._encoding.encode(pcm))

    async def send_flush(self, flush_id: str) -> None:
        """Ask for every word of the audio so far."""
        await self._send(json.dumps({"type": "flush", "flush_id": flush_id}))

    async def send_end(self) -> None:
        """Say that no more audio comes; the remaining words and `Final` follow."""
        await self._send(json.dumps({"type": "end"}))

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Typed events until the session ends; raises the `SttError` that says why it failed."""
        message: ErrorMessage | None = None
        finished = False
        try:
            while True:
                event = decode_message(await self._socket.recv())
                if isinstance(event, ErrorMessage):
                    message = event
                elif event is not None:
                    yield event
                    finished = isinstance(event, Final)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            close_text = closed.rcvd.reason if closed.rcvd else ""
            if finished and code == 1000 and close_text != IDLE_TEXT and not message:
                return
            if closed.sent is not None and closed.sent.code in _PROTOCOL_FAULTS and code is None:
                raise ServerFailed(
                    f"The service broke the WebSocket protocol: {closed.sent.reason}."
                ) from closed
            raise error_from_close(code, close_text, message) from closed

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.close()

    async def _send(self, message: bytes | str) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            # `events` receives the close code and raises the reason.
            raise ServerUnavailable("The connection broke.") from error


def error_from_close(code: int | None, close_text: str, message: ErrorMessage | None) -> SttError:
    """Why a session ended. `code` and `close_text` are those of the close frame, None if it
    never came; `message` is the `error` message, None without one.

    Its reason decides. Without one, from an older gateway, the code does.
    """
    text = (message and message.text) or close_text
    text = text or f"The connection broke (close code {code})."
    reason = message and message.reason
    if known := error_from_reason(reason, text):
        return known
    match code:
        case 1000 if close_text == IDLE_TEXT:
            return Idle(
                "The service ended the session because no audio came.", reason=Reason.IDLE_TIMEOUT
            )
        case 1000:
            return ServerFailed("The service ended the session before its end.", reason=reason)
        case 1003 | 1008:
            return InvalidRequest(text, reason=reason)
        case 1007:
            return InvalidAudio(text, reason=reason)
        case 1009:
            return MessageTooLarge(text, reason=reason)
        case 1002 | 1011:
            return ServerFailed(text, reason=reason)
        case 1012:
            return ServerDraining(text, reason=reason)
        case _:
            return ServerUnavailable(text, reason=reason)
