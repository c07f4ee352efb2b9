"""Which HTTP proxy leads to an address: one rule for gRPC and for WebSocket.

Both are carried through a tunnel (CONNECT), so the proxy for https is asked first: `https_proxy`,
for an address without TLS else `http_proxy`, and `all_proxy` where those are not set. `grpc_proxy`,
and `wss_proxy` or `ws_proxy`, set it for one protocol. `no_proxy` names what is reached directly;
this machine always is. Case does not matter; on macOS and Windows the system's settings count too.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from stt_service.process.address import is_loopback, join_host_port

_DEFAULT_PORTS = {"http": 80, "https": 443}
_SOCKS_SCHEMES = frozenset({"socks", "socks4", "socks4a", "socks5", "socks5h"})
_SOCKS_PORT = 1080


@dataclass(frozen=True)
class Proxy:
    """A proxy, and the variable that names it."""

    variable: str
    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS and not HTTP."""
        return self.scheme in _SOCKS_SCHEMES

    @property
    def url(self) -> str:
        """All of it, the password too."""
        user = ""
        if self.username is not None:
            user = f"{quote(self.username, safe='')}:{quote(self.password or '', safe='')}@"
        return f"{self.scheme}://{user}{join_host_port(self.host, self.port)}"

    def __str__(self) -> str:
        """For a sentence: without user and password."""
        place = join_host_port(self.host, self.port)
        return f"the proxy {self.scheme}://{place} (named by {self.variable})"


def find_proxy(host: str, port: int, protocol: str, *, secure: bool) -> Proxy | None:
    """The proxy for a host, or None; `protocol` is "grpc", "ws" or "wss".

    Raises ValueError, naming the variable, for a proxy that is not understood.
    """
    if is_loopback(host):
        return None
    settings = urllib.request.getproxies()
    if _is_exempt(host, port, settings.get("no", "")):
        return None
    for kind in (protocol, "https", *(() if secure else ("http",)), "socks", "all"):
        if settings.get(kind, "").strip():
            return _parse(f"{kind}_proxy", settings[kind].strip())
    return None


def _is_exempt(host: str, port: int, exceptions: str) -> bool:
    if urllib.request.proxy_bypass(join_host_port(host, port)) or urllib.request.proxy_bypass(host):
        return True
    # Python compares names only; gRPC and curl take networks too.
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(_holds(network.strip(), address) for network in exceptions.split(","))


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def _parse(variable: str, value: str) -> Proxy:
    # Without a scheme it is HTTP, as curl reads it. The value may hold a password: it is not shown.
    complaint = (
        f"{variable} is not understood. Write it like http://proxy.example:3128, "
        "or http://USER:PASSWORD@proxy.example:3128."
    )
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(complaint) from error
    scheme = "socks5h" if variable == "socks_proxy" and parts.scheme == "http" else parts.scheme
    if not host or not host.isprintable() or " " in host or parts.path not in ("", "/"):
        raise ValueError(complaint)
    if scheme not in _DEFAULT_PORTS and scheme not in _SOCKS_SCHEMES:
        raise ValueError(f"{variable} has the scheme {scheme!r}; a proxy is reached by http.")
    return Proxy(
        variable,
        "socks5h" if scheme == "socks" else scheme,
        host,
        port or _DEFAULT_PORTS.get(scheme, _SOCKS_PORT),
        unquote(parts.username) if parts.username is not None else None,
        unquote(parts.password) if parts.password is not None else None,
    )
