"""Why a connection cannot be made: knock at the address and look at what answers.

A library's own words for a failed connection name its parts and not the cause, and differ between
gRPC and WebSocket. So when one of them has failed, the way is gone once more, step by step: the
name, the proxy, TCP, TLS, and the first bytes that the other side says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import socket
import ssl
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import Enum, auto

from stt.address import join_host_port
from stt.errors import (
    NoSuchService,
    ServerUnreachable,
    SttError,
    Unauthenticated,
    UntrustedServer,
)
from stt.proxy import Proxy

CONNECT_TIMEOUT_S = 5.0
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


class Protocol(Enum):
    """What a client of ours wants to speak."""

    GRPC = auto()
    WEBSOCKET = auto()

    def url(self, place: str, *, secure: bool) -> str:
        """How a person writes an address of it."""
        scheme = "http" if self is Protocol.GRPC else "ws"
        return f"{scheme}{'s' if secure else ''}://{place}"


class _Peer(Enum):
    HTTP1 = auto()
    HTTP2 = auto()
    TLS = auto()
    SILENT = auto()
    CLOSED = auto()
    OTHER = auto()


_SPOKEN = {Protocol.GRPC: _Peer.HTTP2, Protocol.WEBSOCKET: _Peer.HTTP1}


@dataclass(frozen=True)
class Way:
    """How to get to an address. `context` is None without TLS."""

    host: str
    port: int
    protocol: Protocol
    context: ssl.SSLContext | None = None
    proxy: Proxy | None = None

    @property
    def place(self) -> str:
        """`HOST:PORT`."""
        return join_host_port(self.host, self.port)


async def find_obstacle(way: Way) -> SttError | None:
    """What stands in the way of a connection now; None if nothing does."""
    try:
        if way.proxy is not None and way.proxy.is_socks:
            # What lies behind it, only the SOCKS library could tell.
            async with _tcp(way):
                return None
        if way.context is None:
            return await _look_without_tls(way)
        return await _look_through_tls(way, way.context)
    except SttError as error:
        return error


async def _look_without_tls(way: Way) -> SttError | None:
    async with _tcp(way) as (reader, writer):
        peer = await _listen(way, reader, writer)
    # HTTP servers answer in plain words that they want TLS.
    if peer is not _Peer.HTTP2 and await _speaks_tls(way):
        peer = _Peer.TLS
    return None if peer is _SPOKEN[way.protocol] else _wrong_peer(way, peer)


async def _look_through_tls(way: Way, context: ssl.SSLContext) -> SttError | None:
    async with _tcp(way) as (reader, writer):
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
        async with _tcp(way) as (_, writer), asyncio.timeout(ANSWER_TIMEOUT_S):
            await writer.start_tls(context, server_hostname=way.host)
        return True
    except ssl.SSLError as error:
        # An alert is TLS too; what is no TLS at all has no record to read.
        return "ALERT" in (error.reason or "")
    except (OSError, TimeoutError, EOFError, SttError):
        return False


@contextlib.asynccontextmanager
async def _tcp(
    way: Way,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the address, through the proxy if there is one. Raises SttError."""
    host, port = (way.host, way.port) if way.proxy is None else (way.proxy.host, way.proxy.port)
    secure_proxy = way.proxy is not None and way.proxy.scheme == "https"
    name = way.place if way.proxy is None else str(way.proxy)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=way.context if secure_proxy else None
            )
    except TimeoutError as error:
        raise ServerUnreachable(
            f"Nothing answers at {name} within {CONNECT_TIMEOUT_S:g} s."
        ) from error
    except OSError as error:
        raise _error_from_connect(host, name, error) from error
    try:
        if way.proxy is not None and not way.proxy.is_socks:
            await _ask_for_tunnel(way, way.proxy, reader, writer)
        yield reader, writer
    finally:
        # Nobody waits for the other side's goodbye.
        writer.transport.abort()


def _error_from_connect(host: str, name: str, error: OSError) -> SttError:
    if isinstance(error, ssl.SSLError):
        return UntrustedServer(f"The TLS handshake with {name} failed: {_tls_reason(error)}.")
    if isinstance(error, socket.gaierror):
        at = "" if name.startswith(host) else f" of {name}"
        return ServerUnreachable(
            f"There is no host {host!r}{at}, or its name cannot be looked up from here "
            f"({_lower(error.strerror)})."
        )
    return ServerUnreachable(f"Nothing answers at {name}: {describe_os_error(error)}.")


def describe_os_error(error: OSError) -> str:
    """The system's words for an error, also where asyncio has joined those of several addresses."""
    number = error.errno
    if number is None and (first := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(first[1])
    return _lower(os.strerror(number) if number else str(error))


def _lower(text: str | None) -> str:
    return text[:1].lower() + text[1:] if text else "unknown error"


async def _ask_for_tunnel(
    way: Way, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    lines = [f"CONNECT {way.place} HTTP/1.1", f"Host: {way.place}"]
    if proxy.username is not None:
        user = f"{proxy.username}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user).decode()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError as error:
        raise ServerUnreachable(
            f"{_upper(str(proxy))} did not lead to {way.place} within {CONNECT_TIMEOUT_S:g} s."
        ) from error
    except (EOFError, ValueError, OSError) as error:
        raise NoSuchService(f"{_upper(str(proxy))} does not answer as an HTTP proxy.") from error
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if status is None:
        raise NoSuchService(f"{_upper(str(proxy))} does not answer as an HTTP proxy.")
    if not 200 <= int(status[1]) < 300:
        raise error_from_proxy(proxy, way.place, int(status[1]))


def error_from_proxy(proxy: Proxy, place: str, status: int) -> SttError:
    """Why a proxy opened no tunnel to `place`."""
    name = _upper(str(proxy))
    if status == 407:
        return NoSuchService(
            f"{name} wants a user name and password, or others (HTTP 407). Write them in "
            f"{proxy.variable} like http://USER:PASSWORD@{proxy.host}:{proxy.port}."
        )
    if status in (502, 503, 504):
        return ServerUnreachable(f"{name} cannot reach {place} (HTTP {status}).")
    return NoSuchService(
        f"{name} does not let through to {place} (HTTP {status}). "
        "Name the host in no_proxy if it can be reached directly."
    )


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


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
    reason = error.reason or ""
    if "ALERT" not in reason and "EOF" not in reason:
        return NoSuchService(
            f"The server at {place} does not speak TLS. "
            f"Write {way.protocol.url(place, secure=False)}."
        )
    if "NO_APPLICATION_PROTOCOL" in reason:
        return _wrong_peer(way, _Peer.HTTP1)
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason or "HANDSHAKE_FAILURE" in reason:
        return Unauthenticated(
            f"The server at {place} refused the TLS handshake ({_tls_reason(error)}): it wants a "
            "client certificate of an authority that it knows."
        )
    return ServerUnreachable(f"The TLS handshake with {place} failed: {_tls_reason(error)}.")


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


def _tls_reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
