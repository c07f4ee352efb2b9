"""Settings of the gateway, checked once. The only reader of its environment."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from client.rpc.endpoint import Credentials, Endpoint
from stt_service.process.address import is_loopback, join_host_port
from stt_service.process.environment import KEY_VARIABLE, SECRET_VARIABLE
from stt_service.process.listening import is_local_only

MIB = 1024 * 1024
PING_INTERVAL_S = 3.0
BUFFER_BYTES = 12 * MIB
"""Two minutes of float32 audio at 24 kHz: a voice is never held up by a cold start."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayConfig:
    """All that the gateway is told. Raises ValueError where a value cannot work."""

    upstream: Endpoint
    """The gRPC service behind the gateway."""
    patience_s: float = 120.0
    """How long a client is kept while the service starts or cannot be found."""
    ping_interval_s: float = PING_INTERVAL_S
    """How often such a client hears a sign of life."""
    max_message_bytes: int = 64 * MIB
    """Largest WebSocket message."""
    buffer_bytes: int = BUFFER_BYTES
    """Audio of one session that is held before its WebSocket is read no further."""
    allow_origins: frozenset[str] = frozenset()
    """Origins of other sites whose pages may connect, like `https://example.com`."""
    local_only: bool = False
    """Whether only this machine can connect; its own pages then have this machine's address."""
    grace_s: float = 30.0
    """How long open sessions may go on after SIGTERM."""

    def __post_init__(self) -> None:
        for name in ("patience_s", "grace_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 s or more.")
        for name in ("ping_interval_s", "max_message_bytes", "buffer_bytes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for origin in self.allow_origins:
            check_origin(origin)

    def listening_at(self, host: str, listening: Sequence[socket.socket]) -> GatewayConfig:
        """The same for a gateway at these sockets, which is what `host` means.

        Where only this machine can connect, its own pages have this machine's names, and the one
        that it was told to listen at.
        """
        if not is_local_only(listening):
            return self
        own = f"http://{join_host_port(host, listening[0].getsockname()[1])}"
        names = frozenset[str]() if is_loopback(host) else frozenset({own})
        return replace(self, local_only=True, allow_origins=self.allow_origins | names)


def check_origin(origin: str) -> None:
    """Raises ValueError for what no browser would send as the origin of a page."""
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


def config_from_arguments(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> GatewayConfig:
    """The configuration that a command line and the environment ask for. Raises ValueError."""
    return GatewayConfig(
        upstream=parse_upstream(arguments.upstream, arguments.upstream_ca, environment),
        patience_s=arguments.patience,
        max_message_bytes=max(1, round(arguments.max_message_mib * MIB)),
        allow_origins=frozenset(arguments.allow_origin),
        grace_s=arguments.grace,
    )


def parse_upstream(
    address: str,
    ca_file: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """The service's address with the credentials of the environment. Raises ValueError.

    Credentials leave this machine only over TLS.
    """
    # Here: `--help` need not wait for gRPC.
    from client.rpc.channel import find_route

    roots = _read_authority(ca_file) if ca_file is not None else None
    credentials = Credentials.from_environment(environment)
    try:
        if not address.isprintable():
            raise ValueError("it holds a character that no address has.")
        endpoint = Endpoint.parse(address, credentials, roots)
    except ValueError as error:
        raise ValueError(f"--upstream {address}: {error}") from error
    if endpoint.port == 0:
        raise ValueError(f"--upstream {address} has the port 0, which nobody answers at.")
    if roots is not None and endpoint.tls is None:
        raise ValueError(
            f"--upstream-ca is for TLS, and {address!r} is plain; write https:// before it."
        )
    find_route(endpoint)
    if credentials is not None and endpoint.tls is None and not endpoint.is_loopback:
        _log.warning(
            "%s and %s are not sent: %s is reached without TLS. Write https:// before the address.",
            KEY_VARIABLE,
            SECRET_VARIABLE,
            endpoint,
        )
        return Endpoint.parse(address, None, roots)
    return endpoint


def _read_authority(ca_file: str) -> bytes:
    """The certificates to trust. gRPC would find out only when it connects, again and again."""
    try:
        roots = Path(ca_file).read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"--upstream-ca {ca_file} holds no certificate in PEM format.") from error
    except OSError as error:
        raise ValueError(f"--upstream-ca {ca_file} cannot be read: {error.strerror}.") from error
    return roots
