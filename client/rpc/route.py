"""The route to an address: protocol, trust and proxy, and a connection along it."""

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

from client.rpc.errors import NoSuchService, ServerUnreachable, SttError, UntrustedServer
from client.rpc.proxy import Proxy
from stt_service.process.address import join_host_port

CONNECT_TIMEOUT_S = 5.0

# What Python puts around OpenSSL's message: "[SSL] tlsv1 alert … (_ssl.c:1006)".
_SSL_BRACKETS = re.compile(r"^\[.*?\] | \(_ssl\.c:\d+\)$")


class Protocol(Enum):
    """What a client speaks."""

    GRPC = auto()
    WEBSOCKET = auto()

    def url(self, place: str, *, secure: bool) -> str:
        """An address of it, as a user writes it."""
        scheme = "http" if self is Protocol.GRPC else "ws"
        return f"{scheme}{'s' if secure else ''}://{place}"


@dataclass(frozen=True)
class Route:
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


@contextlib.asynccontextmanager
async def connect(
    route: Route,
) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the address, through the proxy if there is one. Raises SttError."""
    host, port = (
        (route.host, route.port) if route.proxy is None else (route.proxy.host, route.proxy.port)
    )
    secure_proxy = route.proxy is not None and route.proxy.scheme == "https"
    name = route.place if route.proxy is None else str(route.proxy)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                host, port, ssl=route.context if secure_proxy else None
            )
    except TimeoutError as error:
        raise ServerUnreachable(
            f"Nothing answers at {name} within {CONNECT_TIMEOUT_S:g} s."
        ) from error
    except OSError as error:
        raise _error_from_connect(host, name, error) from error
    try:
        if route.proxy is not None and not route.proxy.is_socks:
            await _ask_for_tunnel(route, route.proxy, reader, writer)
        yield reader, writer
    finally:
        # Do not wait for the other side to close.
        writer.transport.abort()


def _error_from_connect(host: str, name: str, error: OSError) -> SttError:
    if isinstance(error, ssl.SSLError):
        return UntrustedServer(f"The TLS handshake with {name} failed: {tls_reason(error)}.")
    if isinstance(error, socket.gaierror):
        at = "" if name.startswith(host) else f" of {name}"
        return ServerUnreachable(
            f"There is no host {host!r}{at}, or its name cannot be looked up from here "
            f"({_lower(error.strerror)})."
        )
    return ServerUnreachable(f"Nothing answers at {name}: {_describe(error)}.")


def _describe(error: OSError) -> str:
    """The system's message for an error, also if asyncio joined those of several addresses."""
    number = error.errno
    if number is None and (first := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(first[1])
    return _lower(os.strerror(number) if number else str(error))


def _lower(text: str | None) -> str:
    return text[:1].lower() + text[1:] if text else "unknown error"


async def _ask_for_tunnel(
    route: Route, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    lines = [f"CONNECT {route.place} HTTP/1.1", f"Host: {route.place}"]
    if proxy.username is not None:
        user = f"{proxy.username}:{proxy.password or ''}".encode()
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user).decode()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            head = await reader.readuntil(b"\r\n\r\n")
    except TimeoutError as error:
        raise ServerUnreachable(
            f"{_upper(str(proxy))} did not lead to {route.place} within {CONNECT_TIMEOUT_S:g} s."
        ) from error
    except (EOFError, ValueError, OSError) as error:
        raise NoSuchService(f"{_upper(str(proxy))} does not answer as an HTTP proxy.") from error
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if status is None:
        raise NoSuchService(f"{_upper(str(proxy))} does not answer as an HTTP proxy.")
    if not 200 <= int(status[1]) < 300:
        raise error_from_proxy(proxy, route.place, int(status[1]))


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


def tls_reason(error: ssl.SSLError) -> str:
    """OpenSSL's message for an error."""
    # Python has no name for some alerts, among them "no application protocol".
    words = error.reason or _SSL_BRACKETS.sub("", str(error))
    return words.replace("_", " ").lower()
