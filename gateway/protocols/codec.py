"""What a protocol is to the gateway: a description, and a codec for each session.

A codec turns what its client sends into items for the bridge, and what the service says into
messages for its client. It does no I/O and knows no clock, so all that it says follows from what it
was given, and `bridge.py` needs to know no protocol by name.

The call of the service is opened when a codec gives a `StreamingConfig`. A second one, before any
audio, replaces that call by another: some clients say only with their first audio how it is
written, and wait for an answer before they send any. The codec gives the client one `ready` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl

from gateway.closing import CloseCode, Closing
from stt.v1 import stt_pb2

Message = str | bytes
"""One WebSocket message: text or binary."""

MIB = 1024 * 1024
SUBPROTOCOL_HEADER = "sec-websocket-protocol"
_MAX_PARAMETERS = 32


class ProtocolError(ValueError):
    """The client broke its protocol's rules, and the session ends; the text says what is right."""


@dataclass(frozen=True)
class End:
    """The client has said all it had to say: finish its words, then close."""


@dataclass(frozen=True)
class Reply:
    """Messages for the client, to be sent at once."""

    messages: tuple[Message, ...]


Command = stt_pb2.StreamingConfig | stt_pb2.Flush | stt_pb2.VadSettings | End
"""What is written to the call beside audio: it is opened, told something, or half-closed."""

Item = bytes | Command | Reply
"""What the bridge does next, in this order: writes to the call, or answers the client."""


@dataclass(frozen=True)
class Farewell:
    """A session's last messages, and the close frame after them."""

    messages: tuple[Message, ...]
    code: CloseCode
    text: str = ""
    """The close frame's reason, at most 123 bytes of UTF-8."""


@dataclass(frozen=True)
class Handshake:
    """The HTTP request that became a WebSocket."""

    query: str = ""
    """The query string, without its question mark."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """By names in lower case."""
    connection: str = ""
    """Names the connection in logs, and ids that a client gets before it has a session."""

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters, the first of each; none of a query that is far too long."""
        try:
            pairs = parse_qsl(self.query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            return {}
        return dict(reversed(pairs))

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """What the client offers to speak, in its order."""
        offered = self.headers.get(SUBPROTOCOL_HEADER, "").split(",")
        return tuple(name.strip() for name in offered if name.strip())


class Codec(Protocol):
    """One session's protocol."""

    def greet(self) -> Sequence[Item]:
        """What to do once the WebSocket is open. Raises `ProtocolError`."""
        ...

    def decode(self, message: Message) -> Sequence[Item]:
        """Read one message of the client. Raises `ProtocolError`."""
        ...

    def stalled(self) -> Sequence[Item]:
        """What to do now that no message came for the door's `stall_s`."""
        ...

    def encode_event(self, response: stt_pb2.StreamingTranscribeResponse) -> Sequence[Message]:
        """The messages for one event of the service, `ready` and `final` included."""
        ...

    def encode_ping(self) -> Sequence[Message]:
        """Signs of life while the client waits for the service; none where its protocol has none,
        and the WebSocket's own pings have to do."""
        ...

    def encode_closing(self, closing: Closing) -> Farewell:
        """How the session ends. Not for a client that is gone already."""
        ...


@dataclass(frozen=True)
class KeyPlaces:
    """Where a protocol's clients put their key, beside `Modal-Key` and `Authorization`."""

    header: str | None = None
    """Name of a header, in lower case. If it is there, the others are not looked at."""
    parameter: str | None = None
    """Name of a parameter in the query string: browsers cannot set headers."""
    subprotocol_prefix: str | None = None
    """What an offered subprotocol begins with that carries a key."""

    def find_token(self, handshake: Handshake) -> str | None:
        """The key that the client presents, as it was sent; None if it presents none."""
        if self.header is not None and self.header in handshake.headers:
            return handshake.headers[self.header]
        if self.parameter is not None and self.parameter in handshake.parameters:
            return handshake.parameters[self.parameter]
        if self.subprotocol_prefix is not None:
            for name in handshake.subprotocols:
                if name.startswith(self.subprotocol_prefix):
                    return name.removeprefix(self.subprotocol_prefix)
        return None


@dataclass(frozen=True)
class Door:
    """A protocol, as far as the bridge has to know it before and beside its codec."""

    name: str
    """For logs and metrics."""
    paths: tuple[str, ...]
    """Where its WebSockets connect, without a slash at the end; the first is named to strangers."""
    make_codec: Callable[[Handshake], Codec]
    """Never raises: what is wrong with a handshake, `greet` says."""
    key_places: KeyPlaces = KeyPlaces()
    subprotocols: tuple[str, ...] = ()
    """The handshake is answered with the first of these that the client offers."""
    is_framed: bool = True
    """Whether it matters where a binary message ends; otherwise adjacent ones may be joined."""
    max_message_bytes: int | None = None
    """Largest message; None is the gateway's own limit."""
    first_message_s: float | None = None
    """Time for the first message, which opens the call; None where it is opened without one."""
    patience_s: float | None = None
    """How long a client waits for a slot or a cold service; None is the gateway's own patience."""
    wait_for_slot_s: float | None = None
    """How long a client waits where every slot is taken; None is the gateway's own time."""
    stall_s: float | None = None
    """Time without a message after which the codec is told; None: it need not be."""

    def choose_subprotocol(self, handshake: Handshake) -> str | None:
        """The subprotocol to answer the handshake with."""
        return next((name for name in self.subprotocols if name in handshake.subprotocols), None)
