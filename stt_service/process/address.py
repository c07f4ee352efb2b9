"""HOST:PORT, and whether a host is this machine: one rule for everything that takes an address."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

DEFAULT_GRPC_PORT = 50051
DEFAULT_GRPC_ADDRESS = f"127.0.0.1:{DEFAULT_GRPC_PORT}"
"""Where a server listens that was told nothing, and where a command looks for a local one."""
DEFAULT_HTTP_ADDRESS = "127.0.0.1:8000"
"""The same of the gateway."""
MAX_HOST_LABEL = 63
"""Characters between two dots of a host name (RFC 1035)."""


def split_host_port(address: str) -> tuple[str, int | None]:
    """Host and port of `HOST`, `HOST:PORT` or `[IPv6]:PORT`, the host without brackets.

    Raises ValueError, which names nothing: the caller knows what the address is for.
    """
    parts = urlsplit(f"//{address}")
    host, port = parts.hostname, parts.port
    if not host or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, port


def to_ascii_host(host: str) -> str:
    """A host name as the network writes it. Raises ValueError for what cannot be one."""
    if ":" in host:
        return host
    try:
        ascii_host = host.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(
            f"{host!r} is no host name: each part between dots has 1 to "
            f"{MAX_HOST_LABEL} characters."
        ) from error
    if not all("!" <= character <= "~" for character in ascii_host):
        raise ValueError(f"{host!r} is no host name: it holds a space or a control character.")
    return ascii_host


def join_host_port(host: str, port: int) -> str:
    """`HOST:PORT`, with the brackets that an IPv6 address needs."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host, by name or number, is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return is_loopback_name(host)


def is_loopback_name(host: str) -> bool:
    """Whether a name means both loopback addresses, whatever a look-up says."""
    return host == "localhost" or host.endswith(".localhost")


def check_origin(origin: str) -> None:
    """Raise ValueError unless a browser could send this as the origin of a page."""
    complaint = f"The origin {origin!r} must be scheme and host, like https://example.com."
    try:
        parts = urlsplit(origin)
        complete = parts.scheme and parts.hostname and parts.port != 0
    except ValueError as error:
        raise ValueError(complaint) from error
    if not complete or parts.username is not None or parts.path not in ("", "/"):
        raise ValueError(complaint)
    if parts.query or parts.fragment or "*" in origin or not origin.isascii():
        raise ValueError(
            f"{complaint} Each origin by itself, and other letters as browsers send them: xn--…"
        )
