"""Why a connection cannot be made: probe the address and see what answers.

The libraries' messages for a failed connection name their internals and not the cause, and differ
between gRPC and WebSocket. So after a failure the connection is made once more, step by step: name
lookup, proxy, TCP, TLS, and the first bytes of the answer.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum, auto

from client.rpc.errors import (
    NoSuchService,
    ServerUnreachable,
    SttError,
    Unauthenticated,
    UntrustedServer,
)
from client.rpc.route import CONNECT_TIMEOUT_S, Protocol, Route, connect, tls_reason

ANSWER_TIMEOUT_S = 2.0
SILENCE_TIMEOUT_S = 5.0

# What an HTTP/2 client sends first, with an empty SETTINGS frame.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# Without a token and without an upgrade: every server has a short answer to that.
_HTTP1_HELLO = "GET /v1/stream HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"
_HTTP1_WITHOUT_HOST = b"GET / HTTP/1.1\r\n\r\n"
_FRAME_HEADER_BYTES = 9
_SETTINGS_FRAME = 4
_TLS_ALERT = b"\x15\x03"

_HOSTNAME_MISMATCH, _IP_MISMATCH = 62, 64
_EXPIRED, _NOT_YET_VALID = 10, 9


class _Peer(Enum):
    HTTP1 = auto()
    HTTP2 = auto()
    TLS = auto()
    SILENT = auto()
    CLOSED = auto()
    OTHER = auto()


_SPOKEN = {Protocol.GRPC: _Peer.HTTP2, Protocol.WEBSOCKET: _Peer.HTTP1}


async def find_obstacle(route: Route) -> SttError | None:
    """Why a connection fails now; None if it does not."""
    try:
        if route.proxy is not None and route.proxy.is_socks:
            # Only the SOCKS library could reach what is behind it.
            async with connect(route):
                return None
        if route.context is None:
            return await _look_without_tls(route)
        return await _look_through_tls(route, route.context)
    except SttError as error:
        return error


async def is_silent_behind_tls(route: Route) -> bool:
    """Whether the server completes the TLS handshake and then answers nothing at all.

    An edge that holds requests while a container starts is not silent: it answers a request
    without Host at once, which cannot be forwarded (RFC 9112, section 3.2: 400).
    """
    assert route.context is not None
    try:
        async with connect(route) as (reader, writer):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await writer.start_tls(route.context, server_hostname=route.host)
            try:
                writer.write(_HTTP1_WITHOUT_HOST)
                async with asyncio.timeout(SILENCE_TIMEOUT_S):
                    await reader.read(1)
            except TimeoutError:
                return True
    except (OSError, TimeoutError, EOFError, SttError):
        # Then it is not the same server that we are waiting for.
        pass
    return False


async def _look_without_tls(route: Route) -> SttError | None:
    async with connect(route) as (reader, writer):
        peer = await _listen(route, reader, writer)
    # HTTP servers answer in plain HTTP that they want TLS.
    if peer is not _Peer.HTTP2 and await _speaks_tls(route):
        peer = _Peer.TLS
    return None if peer is _SPOKEN[route.protocol] else _wrong_peer(route, peer)


async def _look_through_tls(route: Route, context: ssl.SSLContext) -> SttError | None:
    async with connect(route) as (reader, writer):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await writer.start_tls(context, server_hostname=route.host)
            # The server's verdict on the client's certificate comes with its first answer.
            peer = await _listen(route, reader, writer)
        except (OSError, TimeoutError, EOFError) as error:
            return _error_from_tls(route, error)
    # An edge may hold an HTTP/1.1 request for as long as a container takes to start.
    is_waiting = peer is _Peer.SILENT and route.protocol is Protocol.WEBSOCKET
    return None if peer is _SPOKEN[route.protocol] or is_waiting else _wrong_peer(route, peer)


def _wrong_peer(route: Route, peer: _Peer) -> SttError:
    secure = route.context is not None
    other = Protocol.WEBSOCKET if route.protocol is Protocol.GRPC else Protocol.GRPC
    option = "--url" if other is Protocol.WEBSOCKET else "--grpc"
    spoken = "gRPC" if route.protocol is Protocol.GRPC else "WebSocket"
    address = other.url(route.place, secure=secure)
    match peer:
        case _Peer.TLS:
            return NoSuchService(
                f"The server at {route.place} wants TLS. "
                f"Write {route.protocol.url(route.place, secure=True)}."
            )
        case _Peer.HTTP1:
            return NoSuchService(
                f"The server at {route.place} speaks HTTP/1.1, not gRPC. If it is the "
                f"WebSocket gateway, the address is {address} ({option})."
            )
        case _Peer.HTTP2:
            return NoSuchService(
                f"The server at {route.place} speaks HTTP/2, not WebSocket. If it is the gRPC "
                f"service, the address is {address} ({option})."
            )
        case _Peer.OTHER:
            return NoSuchService(f"The server at {route.place} does not speak {spoken}.")
        case _Peer.SILENT:
            return ServerUnreachable(
                f"The server at {route.place} takes connections but is silent."
            )
        case _Peer.CLOSED if secure:
            # With TLS 1.3 a server checks the client's certificate after the handshake, and
            # some close without an alert.
            return ServerUnreachable(
                f"The server at {route.place} closes every connection after the TLS handshake; "
                "it may want a client certificate."
            )
        case _Peer.CLOSED:
            return ServerUnreachable(
                f"The server at {route.place} closes every connection without a word."
            )


async def _listen(
    route: Route, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> _Peer:
    """Send a greeting and recognise the protocol from the first bytes of the answer."""
    hello = _HTTP2_HELLO
    if route.protocol is Protocol.WEBSOCKET:
        hello = _HTTP1_HELLO.format(place=route.place).encode()
    said = b""
    try:
        writer.write(hello)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while len(said) < _FRAME_HEADER_BYTES and (more := await reader.read(1024)):
                said += more
    except TimeoutError:
        if not said:
            return _Peer.SILENT
    except ssl.SSLError:
        raise
    except OSError:
        pass
    if not said:
        return _Peer.CLOSED
    if said.startswith(b"HTTP/1."):
        return _Peer.HTTP1
    if said.startswith(_TLS_ALERT):
        return _Peer.TLS
    if len(said) >= _FRAME_HEADER_BYTES and said[3] == _SETTINGS_FRAME:
        return _Peer.HTTP2
    return _Peer.OTHER


async def _speaks_tls(route: Route) -> bool:
    """Whether a TLS handshake succeeds; the certificate does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with connect(route) as (_, writer), asyncio.timeout(ANSWER_TIMEOUT_S):
            await writer.start_tls(context, server_hostname=route.host)
        return True
    except ssl.SSLError as error:
        # An alert is TLS too; anything else is an error in reading the first record.
        return "alert" in tls_reason(error)
    except (OSError, TimeoutError, EOFError, SttError):
        return False


def _error_from_tls(route: Route, error: OSError | EOFError) -> SttError:
    place = route.place
    if isinstance(error, ssl.SSLCertVerificationError):
        return UntrustedServer(_distrust(place, error))
    if isinstance(error, TimeoutError):
        return ServerUnreachable(
            f"The server at {place} takes connections but does not answer the TLS handshake. "
            f"If it has no TLS, write {route.protocol.url(place, secure=False)}."
        )
    if not isinstance(error, ssl.SSLError):
        return ServerUnreachable(f"The server at {place} broke off the TLS handshake.")
    reason = tls_reason(error)
    if "alert" not in reason and "eof" not in reason:
        return NoSuchService(
            f"The server at {place} does not speak TLS. "
            f"Write {route.protocol.url(place, secure=False)}."
        )
    if "no application protocol" in reason:
        return _wrong_peer(route, _Peer.HTTP1)
    if "certificate" in reason or "unknown ca" in reason or "handshake failure" in reason:
        return Unauthenticated(
            f"The server at {place} refused the TLS handshake ({reason}): it wants a "
            "client certificate of an authority that it knows."
        )
    return ServerUnreachable(f"The TLS handshake with {place} failed: {reason}.")


def _distrust(place: str, error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message.rstrip(".")
    reason = f"The certificate of the server at {place} is not accepted: {reason}."
    match error.verify_code:
        case _ if error.verify_code in (_HOSTNAME_MISMATCH, _IP_MISMATCH):
            return f"{reason} Use the host name that the certificate is for."
        case _ if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
            return f"{reason} It must be renewed, or this machine's clock is wrong."
        case _:
            return (
                f"{reason} If you know its authority, name the authority's PEM file in "
                "SSL_CERT_FILE."
            )
