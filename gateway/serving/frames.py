"""Reading the frames of one WebSocket, no faster than is fair.

The frames are wsproto's, which hands out a message piece by piece, so that a message of any size
takes a few kilobytes here. Reading stops while the application has not taken what came, while this
socket has had its share of frames (`pacing`), and while the peer does not read our pongs.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from wsproto import WSConnection
from wsproto import events as wire_events
from wsproto.connection import ConnectionState
from wsproto.frame_protocol import CloseReason

from gateway.serving.live_message import MessageBorders, read_whole_message
from gateway.serving.pacing import (
    TURN_FRAMES,
    SharedPace,
    make_admitted_bucket,
    make_waiting_bucket,
)
from gateway.serving.received import AsgiEvent, Received
from gateway.serving.whole import Assembly, WholeMessages

WAITING_READ_BYTES = 4 * 1024
ADMITTED_READ_BYTES = 32 * 1024
WAITING_LIMIT_BYTES = 16 * 1024
ADMITTED_LIMIT_BYTES = 64 * 1024
MAX_TEXT = 8 * 1024
"""Longer than any text message that the application understands."""

WireMessage = wire_events.TextMessage | wire_events.BytesMessage

_READABLE = (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING)


class Peer(Protocol):
    """The writing side of the same socket."""

    @property
    def can_write(self) -> bool:
        """Whether the peer reads what is written."""
        ...

    def write(self, event: wire_events.Event) -> None:
        """Send an event."""
        ...

    def answer_close(self, event: wire_events.CloseConnection) -> None:
        """The peer has sent a close, or answered ours."""
        ...


class FrameReader:
    """Bytes of a socket → `received`, in turns."""

    def __init__(
        self,
        wire: WSConnection,
        peer: Peer,
        pace: SharedPace,
        whole: WholeMessages,
        max_message_bytes: int,
    ) -> None:
        self.received = Received(WAITING_LIMIT_BYTES)
        self.read_bytes = WAITING_READ_BYTES
        """How much to read from the socket at once."""
        self.is_ignoring = False
        """Whether what the peer still sends is dropped, except its close."""
        self.is_broken = False
        """Whether the peer's bytes can no longer be understood."""
        self._wire = wire
        self._peer = peer
        self._pace = pace
        self._whole = whole
        self._assembly: Assembly | None = None
        self._in_use: str | bytes | None = None
        self._max_message_bytes = max_message_bytes
        self._bucket = make_waiting_bucket()
        self._transport: asyncio.Transport | None = None
        self._has_unread = False
        self._is_turn_due = False
        self._owed_pong: wire_events.Ping | None = None
        self._message_bytes = 0
        self._borders = MessageBorders()
        self._text = ""

    def start(self, transport: asyncio.Transport, early: bytes) -> None:
        """The handshake is done: begin to read, with what was sent `early`."""
        self._transport = transport
        self.feed(early)

    def keep_whole(self, limit_bytes: int) -> None:
        """Before `start`: messages are to be passed on whole, and none larger than that."""
        self._assembly = Assembly(self._whole, limit_bytes, self._give_up)

    def stop(self) -> None:
        """Read no more."""
        self._transport = None
        self._pace.leave(self)
        if self._assembly is not None:
            self._assembly.close()
            self._assembly = None
            self._in_use = None

    async def take(self) -> AsgiEvent:
        """The next event, when there is one; what was taken before it has been used."""
        if self._in_use is not None and self._assembly is not None:
            self._assembly.release(self._in_use)
        self._in_use = None
        event = await self.received.take()
        if self._assembly is not None:
            self._in_use = event.get("bytes") or event.get("text")
        self.proceed()
        return event

    def admit(self) -> None:
        """The socket has a slot: it may send as live audio does."""
        self._bucket = make_admitted_bucket()
        self.read_bytes = ADMITTED_READ_BYTES
        self.received.limit_bytes = ADMITTED_LIMIT_BYTES

    def feed(self, data: bytes) -> None:
        """Bytes were read from the socket."""
        if self._take_whole_message(data):
            return
        if not self.is_broken and self._wire.state in _READABLE:
            self._borders.follow(data)
            self._wire.receive_data(data)
            self._has_unread = True
        if not self._is_turn_due:
            self._take_turn()

    def _take_whole_message(self, data: bytes) -> bool:
        """Take a message of live audio past wsproto, which knows only of what it was given."""
        is_free = self._borders.is_at_border and not (
            self._has_unread or self._is_turn_due or self.is_broken or self._is_blocked
        )
        if not is_free or self._wire.state is not ConnectionState.OPEN or not self._bucket.tokens:
            return False
        message = read_whole_message(data)
        if message is None:
            return False
        self._bucket.take(self._handle(wire_events.BytesMessage(message)))
        self._pause_or_resume()
        return True

    def proceed(self) -> None:
        """Go on: the application took an event, or the peer has read."""
        self._send_owed_pong()
        if self._has_unread and not self._is_blocked and not self._is_turn_due:
            self._is_turn_due = True
            asyncio.get_running_loop().call_soon(self._take_turn)
        self._pause_or_resume()

    def read_frames(self, allowed: int) -> int:
        """A shared turn has come (`pacing.Reader`)."""
        self._is_turn_due = False
        used = self._read(allowed) if self._transport is not None else 0
        self.proceed()
        return used

    def _take_turn(self) -> None:
        """Read as many frames as this socket may by itself, or ask for a shared turn."""
        self._is_turn_due = False
        if self._transport is None:
            return
        if self._has_unread and not self._is_blocked:
            allowed = min(TURN_FRAMES, self._bucket.tokens)
            if allowed > 0:
                self._bucket.take(self._read(allowed))
            else:
                self._is_turn_due = True
                self._pace.ask(self)
        self.proceed()

    def _pause_or_resume(self) -> None:
        # asyncio ignores a call that changes nothing.
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_unread or self._is_blocked:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    @property
    def _is_blocked(self) -> bool:
        # What is dropped needs no room; the peer's close may lie behind it.
        is_full = self.received.is_full and not self.is_ignoring
        return is_full or (self._owed_pong is not None and not self._peer.can_write)

    def _read(self, allowed: int) -> int:
        """Handle at most so many frames; returns what they cost, at least 1."""
        used = 0
        while used < allowed and not self._is_blocked:
            event = next(self._wire.events(), None)
            if event is None:
                self._has_unread = False
                break
            used += self._handle(event)
        self._send_owed_pong()
        return max(used, 1)

    def _handle(self, event: wire_events.Event) -> int:
        """Pass an event on; returns what it costs. A piece of a large frame costs nothing."""
        match event:
            case wire_events.TextMessage() | wire_events.BytesMessage() if self._assembly:
                self._assemble(self._assembly, event)
                return 1 if event.frame_finished else 0
            case wire_events.BytesMessage():
                self._handle_audio(event.data, is_last=event.message_finished)
                return 1 if event.frame_finished else 0
            case wire_events.TextMessage():
                self._handle_text(event)
            case wire_events.Ping():
                # RFC 6455 section 5.5.3: only the latest of several pings needs an answer.
                self._owed_pong = event
            case wire_events.CloseConnection():
                self._handle_close(event)
            case _:
                pass
        return 1

    def _assemble(self, assembly: Assembly, event: WireMessage) -> None:
        if self.is_ignoring:
            return
        if not assembly.add(event.data):
            self._report(CloseReason.MESSAGE_TOO_BIG, "")
        # It may have been given up for its last piece.
        elif event.message_finished and (message := assembly.finish()) is not None:
            self.received.add_message(message)

    def _give_up(self) -> None:
        self._report(CloseReason.TRY_AGAIN_LATER, "")

    def _handle_audio(self, audio: bytes | bytearray, *, is_last: bool) -> None:
        self._message_bytes += len(audio)
        if self._message_bytes > self._max_message_bytes:
            self._report(CloseReason.MESSAGE_TOO_BIG, "")
        if not self.is_ignoring:
            self.received.add_audio(audio)
        if is_last:
            self._message_bytes = 0

    def _handle_text(self, event: wire_events.TextMessage) -> None:
        if self.is_ignoring:
            return
        self._text += event.data
        is_too_long = len(self._text) > MAX_TEXT
        if event.message_finished or is_too_long:
            self.received.add_message(self._text)
            self._text = ""
            # The application refuses such a message; the rest of it need not be kept.
            self.is_ignoring = is_too_long

    def _handle_close(self, event: wire_events.CloseConnection) -> None:
        if self._wire.state in _READABLE:
            # wsproto reports what it cannot parse as a close, which the peer has not sent.
            self.is_broken = True
            self._has_unread = False
            self._report(event.code, event.reason or "")
        else:
            self._peer.answer_close(event)

    def _report(self, code: int, text: str) -> None:
        if not self.is_ignoring:
            self.is_ignoring = True
            self.received.add({"type": "websocket.receive", "violation": (int(code), text)})

    def _send_owed_pong(self) -> None:
        if self._owed_pong is not None and self._peer.can_write:
            if self._wire.state is ConnectionState.OPEN:
                self._peer.write(self._owed_pong.response())
            self._owed_pong = None
