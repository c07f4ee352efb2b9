"""Settings of the gateway, checked once. The only reader of its environment."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stt.address import is_loopback, split_host_port
from stt.channel import Endpoint, find_way
from stt.environment import KEY_VARIABLE, SECRET_VARIABLE, read_credentials

MIB = 1024 * 1024
PING_INTERVAL_S = 3.0
BUFFER_BYTES = 12 * MIB
"""Two minutes of float32 audio at 24 kHz: a voice is never held up by a cold start."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HttpAddress:
    """Where the gateway listens; port 0 takes a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    @classmethod
    def parse(cls, address: str) -> HttpAddress:
        """Read `HOST:PORT`. Raises ValueError."""
        complaint = f"The address {address!r} must be HOST:PORT, like 127.0.0.1:8000."
        try:
            host, port = split_host_port(address)
        except ValueError as error:
            raise ValueError(complaint) from error
        if port is None:
            raise ValueError(complaint)
        return cls(host, port)


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
            parts = urlsplit(origin)
            if not parts.scheme or not parts.netloc or parts.path not in ("", "/"):
                raise ValueError(
                    f"The origin {origin!r} must be scheme and host, like https://example.com."
                )


def config_from_arguments(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> GatewayConfig:
    """The configuration that a command line and the environment ask for. Raises ValueError."""
    return GatewayConfig(
        upstream=parse_upstream(arguments.upstream, arguments.upstream_ca, environment),
        patience_s=arguments.patience,
        max_message_bytes=round(arguments.max_message_mib * MIB),
        allow_origins=frozenset(arguments.allow_origin),
        local_only=HttpAddress.parse(arguments.http).is_loopback,
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
    try:
        roots = Path(ca_file).read_bytes() if ca_file else None
    except OSError as error:
        raise ValueError(f"The CA file {ca_file!r} cannot be read: {error.strerror}.") from error
    credentials = read_credentials(environment)
    endpoint = Endpoint.parse(address, credentials, roots)
    find_way(endpoint)
    if credentials is not None and endpoint.tls is None and not endpoint.is_loopback:
        _log.warning(
            "%s and %s are not sent: %s is reached without TLS. Write https:// before the address.",
            KEY_VARIABLE,
            SECRET_VARIABLE,
            endpoint,
        )
        return Endpoint.parse(address, None, roots)
    return endpoint
