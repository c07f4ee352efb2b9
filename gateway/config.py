"""The gateway's settings, validated once. No other module of the gateway reads the environment."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from client.rpc.endpoint import Credentials, Endpoint
from gateway.tls import ServerFiles, UpstreamFiles
from stt_service.process.access import NOBODY_ASKED, Access
from stt_service.process.address import check_origin, is_loopback, join_host_port
from stt_service.process.environment import KEY_VARIABLE, SECRET_VARIABLE
from stt_service.process.listening import is_local_only

MIB = 1024 * 1024
PING_INTERVAL_S = 3.0
BUFFER_BYTES = 12 * MIB
"""Two minutes of float32 audio at 24 kHz, so that a cold start does not hold up live audio."""

MAX_WAIT_S = 600
"""What the service takes as `wait_for_slot`."""

NO_FILES = UpstreamFiles()

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GatewayConfig:
    """Settings of one gateway. Raises ValueError for a value out of range."""

    upstream: Endpoint
    """The gRPC service behind the gateway."""
    upstream_files: UpstreamFiles = NO_FILES
    """Files for the connection to it, read again when they change."""
    patience_s: float = 120.0
    """How long a client waits while the service starts or cannot be reached."""
    wait_for_slot_s: float = 3.0
    """How long a client waits where every slot is taken, unless its protocol says otherwise."""
    ping_interval_s: float = PING_INTERVAL_S
    """How often a waiting client gets a `ping`."""
    max_message_bytes: int = 64 * MIB
    """Largest WebSocket message."""
    buffer_bytes: int = BUFFER_BYTES
    """Audio buffered for one session; while it is full the WebSocket is not read."""
    allow_origins: frozenset[str] = frozenset()
    """Origins of other sites whose pages may connect, like `https://example.com`."""
    local_only: bool = False
    """Whether only this machine can connect; its own pages then have this machine's address."""
    grace_s: float = 30.0
    """How long open sessions may go on after SIGTERM."""
    max_connections: int = 1000
    """TCP connections at once, WebSockets and others; of `stt-gateway`, not of the application."""
    max_waiting: int = 256
    """Sessions that may wait for a slot at once; more are refused with HTTP 503."""
    max_buffered_bytes: int = 256 * MIB
    """Audio held for all sessions together, half of it for those that wait for a slot."""
    access: Access = NOBODY_ASKED
    """Whose keys are let in."""
    allow_hosts: frozenset[str] = frozenset()
    """Names that the gateway answers to, beside numbers and this machine's; none for any."""
    trusted_proxies: tuple[str, ...] = ()
    """Numbers or networks of the proxies whose `X-Forwarded-For` is believed."""
    tls: ServerFiles | None = None
    """Certificate and key of the listening sockets; of `stt-gateway`, not of the application."""

    def __post_init__(self) -> None:
        for name in ("patience_s", "grace_s", "wait_for_slot_s"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 s or more.")
        if self.wait_for_slot_s > MAX_WAIT_S:
            raise ValueError(
                f"wait_for_slot_s is {self.wait_for_slot_s}; it must be at most {MAX_WAIT_S} s."
            )
        for name in (
            "ping_interval_s",
            "max_message_bytes",
            "buffer_bytes",
            "max_connections",
            "max_waiting",
            "max_buffered_bytes",
        ):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be above 0.")
        for origin in self.allow_origins:
            check_origin(origin)

    def listening_at(self, host: str, listening: Sequence[socket.socket]) -> GatewayConfig:
        """The configuration for a gateway that listens on these sockets, which `host` resolved to.

        If only this machine can connect, only pages from this machine's own names are allowed, and
        from the name that the gateway was told to listen on.
        """
        if not is_local_only(listening):
            return self
        scheme = "http" if self.tls is None else "https"
        own = f"{scheme}://{join_host_port(host, listening[0].getsockname()[1])}"
        names = frozenset[str]() if is_loopback(host) else frozenset({own})
        return replace(self, local_only=True, allow_origins=self.allow_origins | names)


def config_from_arguments(
    arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> GatewayConfig:
    """The configuration from the command line and the environment. Raises ValueError."""
    files = UpstreamFiles(arguments.upstream_ca, arguments.upstream_cert, arguments.upstream_key)
    return GatewayConfig(
        upstream=parse_upstream(arguments.upstream, files, environment),
        upstream_files=files,
        patience_s=arguments.patience,
        wait_for_slot_s=arguments.wait_for_slot,
        max_message_bytes=max(1, round(arguments.max_message_mib * MIB)),
        allow_origins=frozenset(arguments.allow_origin),
        grace_s=arguments.grace,
        max_connections=arguments.max_connections,
        max_waiting=arguments.max_waiting,
        max_buffered_bytes=max(1, round(arguments.max_buffered_mib * MIB)),
        access=Access.from_arguments(arguments, environment),
        allow_hosts=frozenset(arguments.allow_host),
        trusted_proxies=tuple(arguments.trusted_proxy),
        tls=_read_tls(arguments.tls_cert, arguments.tls_key),
    )


def _read_tls(certificate: Path | None, private_key: Path | None) -> ServerFiles | None:
    if certificate is None and private_key is None:
        return None
    if certificate is None or private_key is None:
        raise ValueError("--tls-cert and --tls-key go together.")
    files = ServerFiles(certificate, private_key)
    files.load()
    return files


def parse_upstream(
    address: str,
    files: UpstreamFiles = NO_FILES,
    environment: Mapping[str, str] = os.environ,
) -> Endpoint:
    """The service's address with the credentials of the environment. Raises ValueError.

    Credentials are sent to other machines only over TLS.
    """
    # Imported here so that `--help` does not wait for gRPC.
    from client.rpc.channel import find_route

    credentials = Credentials.from_environment(environment)
    try:
        if not address.isprintable():
            raise ValueError("it holds a character that no address has.")
        endpoint = Endpoint.parse(address, credentials)
    except ValueError as error:
        raise ValueError(f"--upstream {address}: {error}") from error
    if endpoint.port == 0:
        raise ValueError(f"--upstream {address} has the port 0, which nobody answers at.")
    if files.paths:
        if endpoint.tls is None:
            raise ValueError(
                "--upstream-ca, --upstream-cert and --upstream-key are for TLS, and "
                f"{address!r} is plain; write https:// before it."
            )
        endpoint = files.load(endpoint)
    find_route(endpoint)
    if credentials is not None and endpoint.tls is None and not endpoint.is_loopback:
        _log.warning(
            "%s and %s are not sent: %s is reached without TLS. Write https:// before the address.",
            KEY_VARIABLE,
            SECRET_VARIABLE,
            endpoint,
        )
        return Endpoint.parse(address, None)
    return endpoint
