"""Why a connection cannot be made: knock at the address and look at what answers.

A library's own words for a failed connection name its parts and not the cause, and differ between
gRPC and WebSocket. So when one of them has failed, the way is gone once more, step by step: the
name, the proxy, TCP, TLS, and the first bytes that the other side says.
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
from client.rpc.way import CONNECT_TIMEOUT_S, Protocol, Way, connect, tls_reason

ANSWER_TIMEOUT_S = 2.0

# What an HTTP/2 client says first, with an empty SETTINGS frame.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
# Without a token and without an upgrade: every server has a short answer to it.
_HTTP1_HELLO = "GET /v1/stream HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n"
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


async def find_obstacle(way: Way) -> SttError | None:
    """What stands in the way of a connection now; None if nothing does."""
    try:
        if way.proxy is not None and way.proxy.is_socks:
            # What lies behind it, only the SOCKS library could tell.
            async with connect(way):
                return None
        if way.context is None:
            return await _look_without_tls(way)
        return await _look_through_tls(way, way.context)
    except SttError as error:
        return error


async def _look_without_tls(way: Way) -> SttError | None:
    async with connect(way) as (reader, writer):
        peer = await _listen(way, reader, writer)
    # HTTP servers answer in plain words that they want TLS.
    if peer is not _Peer.HTTP2 and await _speaks_tls(way):
        peer = _Peer.TLS
    return None if peer is _SPOKEN[way.protocol] else _wrong_peer(way, peer)


async def _look_through_tls(way: Way, context: ssl.SSLContext) -> SttError | None:
    async with connect(way) as (reader, writer):
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await writer.start_tls(context, server_hostname=way.host)
            # What the server thinks of the client's certificate comes with the first answer.
            peer = await _listen(way, reader, writer)
        except (OSError, TimeoutError, EOFError) as error:
            return _error_from_tls(way, error)
    # An edge may hold an HTTP/1.1 request for as long as a container takes to start.
    is_waiting = peer is _Peer.SILENT and way.protocol is Protocol.WEBSOCKET
    return None if peer is _SPOKEN[way.protocol] or is_waiting else _wrong_peer(way, peer)


def _wrong_peer(way: Way, peer: _Peer) -> SttError:
    secure = way.context is not None
    other = Protocol.WEBSOCKET if way.protocol is Protocol.GRPC else Protocol.GRPC
    option = "--url" if other is Protocol.WEBSOCKET else "--grpc"
    spoken = "gRPC" if way.protocol is Protocol.GRPC else "WebSocket"
    address = other.url(way.place, secure=secure)
    match peer:
        case _Peer.TLS:
            return NoSuchService(
                f"The server at {way.place} wants TLS. "
                f"Write {way.protocol.url(way.place, secure=True)}."
            )
        case _Peer.HTTP1:
            return NoSuchService(
                f"The server at {way.place} speaks HTTP/1.1, not gRPC. If it is the WebSocket "
                f"gateway, the address is {address} ({option})."
            )
        case _Peer.HTTP2:
            return NoSuchService(
                f"The server at {way.place} speaks HTTP/2, not WebSocket. If it is the gRPC "
                f"service, the address is {address} ({option})."
            )
        case _Peer.OTHER:
            return NoSuchService(f"The server at {way.place} does not speak {spoken}.")
        case _Peer.SILENT:
            return ServerUnreachable(f"The server at {way.place} takes connections but is silent.")
        case _Peer.CLOSED if secure:
            # With TLS 1.3 a server judges the client's certificate after the handshake, and some
            # leave without saying how.
            return ServerUnreachable(
                f"The server at {way.place} closes every connection after the TLS handshake; it "
                "may want a client certificate."
            )
        case _Peer.CLOSED:
            return ServerUnreachable(
                f"The server at {way.place} closes every connection without a word."
            )


async def _listen(way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> _Peer:
    """Greet, and tell from the first bytes of the answer what the other side speaks."""
    hello = _HTTP2_HELLO
    if way.protocol is Protocol.WEBSOCKET:
        hello = _HTTP1_HELLO.format(place=way.place).encode()
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


async def _speaks_tls(way: Way) -> bool:
    """Whether a TLS handshake gets anywhere; whose certificate it is does not matter here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        async with connect(way) as (_, writer), asyncio.timeout(ANSWER_TIMEOUT_S):
            await writer.start_tls(context, server_hostname=way.host)
        return True
    except ssl.SSLError as error:
        # An alert is TLS too; what is no TLS at all has no record to read.
        return "alert" in tls_reason(error)
    except (OSError, TimeoutError, EOFError, SttError):
        return False


def _error_from_tls(way: Way, error: OSError | EOFError) -> SttError:
    place = way.place
    if isinstance(error, ssl.SSLCertVerificationError):
        return UntrustedServer(_distrust(place, error))
    if isinstance(error, TimeoutError):
        return ServerUnreachable(
            f"The server at {place} takes connections but does not answer the TLS handshake. "
            f"If it has no TLS, write {way.protocol.url(place, secure=False)}."
        )
    if not isinstance(error, ssl.SSLError):
        return ServerUnreachable(f"The server at {place} broke off the TLS handshake.")
    reason = tls_reason(error)
    if "alert" not in reason and "eof" not in reason:
        return NoSuchService(
            f"The server at {place} does not speak TLS. "
            f"Write {way.protocol.url(place, secure=False)}."
        )
    if "no application protocol" in reason:
        return _wrong_peer(way, _Peer.HTTP1)
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
