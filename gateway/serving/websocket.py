"""A WebSocket connection between its transport and the ASGI application.

The scope has an extension of ours, `stt.stream`. Binary messages come joined or in pieces, since
for our own protocol only their bytes matter; an application that needs whole messages calls
`keep_whole` with their largest size before it accepts. What a peer did wrong comes as an event with
`violation`, a close code and a text. The application calls `admit` when it has a slot for this
socket.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import uvicorn
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.server import ServerState
from wsproto import ConnectionType, WSConnection
from wsproto import events as wire_events
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from gateway.serving import extensions
from gateway.serving.connections import Connection
from gateway.serving.frames import ADMITTED_READ_BYTES, FrameReader
from gateway.serving.pacing import SharedPace
from gateway.serving.received import AsgiEvent
from gateway.serving.whole import WholeMessages
from stt_service.process.logs import OccasionalLog, get_logger

WRITE_LIMIT_BYTES = 64 * 1024
"""Beyond it the peer gets nothing more until it has read."""
CLOSE_S = 10.0
"""For the peer to answer our close, and for what was written to leave."""
BROKEN_CLOSE_S = 1.0
"""The same for a peer whose answer could not be understood."""

RawHeaders = list[tuple[bytes, bytes]]

# What was read is copied out before anything else runs, so one buffer serves all sockets.
_SCRATCH = memoryview(bytearray(ADMITTED_READ_BYTES))

_log = get_logger(__name__)


@dataclass(frozen=True)
class Shared:
    """What all sockets of a process share."""

    pace: SharedPace
    whole: WholeMessages
    log: OccasionalLog


class WebSocketProtocol(asyncio.BufferedProtocol):
    """One WebSocket; takes over the transport of the HTTP connection that asked for it."""

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        *,
        connection: Connection,
        shared: Shared,
    ) -> None:
        self._config = config
        self._state = server_state
        self._connection = connection
        self._occasional_log = shared.log
        self._wire = WSConnection(ConnectionType.SERVER)
        self._frames = FrameReader(self._wire, self, shared.pace, shared.whole, config.ws_max_size)
        self._writable = asyncio.Event()
        self._writable.set()
        self._early = b""
        self._denial: AsgiEvent | None = None
        self._was_answered = False
        self._is_lost = False
        self._ping_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a transport; nothing is read until the application accepts."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_LIMIT_BYTES)
        self._transport.pause_reading()
        self._loop = asyncio.get_running_loop()
        self._state.connections.add(cast("Any", self))

    def shake_hands(self, scope: AsgiEvent, early: bytes) -> None:
        """Check the request of an HTTP scope, then let the application answer it.

        `early` is what the client has sent behind its request without waiting for the answer.
        """
        headers: RawHeaders = scope["headers"]
        names = {name for name, _ in headers}
        try:
            if scope["method"] != "GET" or names & {b"content-length", b"transfer-encoding"}:
                raise RemoteProtocolError("A WebSocket begins with a GET without a body")
            self._wire.initiate_upgrade_connection(headers, scope["raw_path"])
            request = cast("wire_events.Request", next(self._wire.events()))
        except (RemoteProtocolError, UnicodeError) as error:
            hint: Any = getattr(error, "event_hint", None)
            status: int = hint.status_code if hint is not None else HTTPStatus.BAD_REQUEST
            self._occasional_log.warning("bad WebSocket handshake", error=str(error))
            self._refuse(status, list(hint.headers) if hint else [], f"{error}.\n".encode())
            return
        self._early = early
        self._scope = {
            **scope,
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": request.subprotocols,
            "extensions": {
                "websocket.http.response": {},
                extensions.STREAM: {
                    "admit": self._frames.admit,
                    "keep_whole": self._frames.keep_whole,
                },
            },
        }
        self._frames.received.add({"type": "websocket.connect"})
        task = self._loop.create_task(self._run_app())
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport puts what it reads."""
        return _SCRATCH[: self._frames.read_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """Something was read."""
        self._frames.feed(bytes(_SCRATCH[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection has ended."""
        self._is_lost = True
        self._frames.stop()
        for timer in (self._ping_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        self._state.connections.discard(cast("Any", self))
        self._connection.note_closed()
        self._tell_disconnected(CloseReason.ABNORMAL_CLOSURE)
        # asyncio does not call resume_writing for a transport that is lost.
        self._writable.set()

    def pause_writing(self) -> None:
        """The peer does not read as fast as we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer has read."""
        self._writable.set()
        self._frames.proceed()

    def shutdown(self) -> None:
        """The server ends; uvicorn calls this for each connection."""
        if self._wire.state is ConnectionState.OPEN:
            self._close(CloseReason.SERVICE_RESTART, "")
        self._transport.close()
        self._end_within(BROKEN_CLOSE_S)

    @property
    def can_write(self) -> bool:
        """Whether the peer reads what is written (`frames.Peer`)."""
        return self._writable.is_set()

    def write(self, event: wire_events.Event) -> None:
        """Send an event (`frames.Peer`)."""
        self._transport.write(self._wire.send(event))

    def answer_close(self, event: wire_events.CloseConnection) -> None:
        """The peer has sent a close, or answered ours (`frames.Peer`)."""
        if self._wire.state is ConnectionState.REMOTE_CLOSING:
            self._tell_disconnected(event.code)
            self.write(event.response())
        self._transport.close()
        self._end_within(CLOSE_S)

    async def _run_app(self) -> None:
        app = cast("Any", self._config).loaded_app
        try:
            await app(self._scope, self._receive, self._send)
        except ClientDisconnected:
            pass
        except Exception:
            _log.error("WebSocket failed", exc_info=True)
        if not self._was_answered:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, [], b"Internal server error.\n")
        elif self._wire.state is ConnectionState.OPEN:
            self._close(CloseReason.INTERNAL_ERROR, "")

    async def _receive(self) -> AsgiEvent:
        return await self._frames.take()

    async def _send(self, message: AsgiEvent) -> None:
        await self._writable.wait()
        if self._is_lost:
            raise ClientDisconnected
        try:
            self._answer(message)
        except LocalProtocolError as error:
            # The peer has closed in the meantime.
            raise ClientDisconnected from error

    def _answer(self, message: AsgiEvent) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accept(message)
            case "websocket.send" if message.get("text") is not None:
                self.write(wire_events.TextMessage(message["text"]))
            case "websocket.send":
                self.write(wire_events.BytesMessage(message["bytes"]))
            case "websocket.close" if self._was_answered:
                self._close(message.get("code", 1000), message.get("reason") or "")
            case "websocket.close":
                self._refuse(HTTPStatus.FORBIDDEN, [], b"")
            case "websocket.http.response.start":
                self._denial = message
            case "websocket.http.response.body" if self._denial is not None:
                headers: RawHeaders = list(self._denial.get("headers", []))
                self._refuse(self._denial["status"], headers, message.get("body", b""))
            case other:
                raise RuntimeError(f"{other} is not expected now")

    def _accept(self, message: AsgiEvent) -> None:
        self._was_answered = True
        headers: RawHeaders = [*self._state.default_headers, *message.get("headers", [])]
        self.write(wire_events.AcceptConnection(message.get("subprotocol"), [], headers))
        self._connection.note_websocket()
        self._keep_awake()
        self._frames.start(self._transport, self._early)

    def _refuse(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Answer the request with something else than a WebSocket."""
        if self._is_lost or self._was_answered:
            return
        self._was_answered = True
        names = {name.lower() for name, _ in headers}
        length = [] if b"content-length" in names else [(b"content-length", b"%d" % len(body))]
        lines = [
            f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}".encode(),
            *(b"%b: %b" % header for header in (*self._state.default_headers, *headers, *length)),
            b"connection: close",
            b"",
            body,
        ]
        self._transport.write(b"\r\n".join(lines))
        self._transport.close()
        self._end_within(CLOSE_S)

    def _close(self, code: int, reason: str) -> None:
        """Send a close; the transport follows when the peer has answered, or after a while."""
        frames = self._frames
        frames.is_ignoring = True
        self.write(wire_events.CloseConnection(code, reason))
        if frames.is_broken and self._transport.can_write_eof():
            self._transport.write_eof()
        self._end_within(BROKEN_CLOSE_S if frames.is_broken else CLOSE_S)
        frames.proceed()

    def _keep_awake(self) -> None:
        """Ping now and then, so that nothing on the way takes the connection for a dead one."""
        interval_s = self._config.ws_ping_interval
        if interval_s and self._wire.state is ConnectionState.OPEN:
            if self.can_write:
                self.write(wire_events.Ping())
            self._ping_timer = self._loop.call_later(interval_s, self._keep_awake)

    def _end_within(self, seconds: float) -> None:
        """A peer that does not read or answer cannot keep the connection."""
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self._loop.call_later(seconds, self._transport.abort)

    def _tell_disconnected(self, code: int) -> None:
        self._frames.received.add({"type": "websocket.disconnect", "code": int(code)})
