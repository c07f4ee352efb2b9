"""The service's address, TLS and credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from stt_service.process.address import (
    DEFAULT_GRPC_PORT,
    is_loopback,
    join_host_port,
    to_ascii_host,
)
from stt_service.process.environment import check_token, read_proxy_token

DEFAULT_TLS_PORT = 443

_PLAIN_SCHEMES = frozenset({"http", "grpc"})
_TLS_SCHEMES = frozenset({"https", "grpcs"})


@dataclass(frozen=True)
class Credentials:
    """A Modal proxy auth token. Raises ValueError for one that a header cannot hold."""

    key: str
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("key", "secret"):
            check_token(f"The {name} of the credentials", getattr(self, name))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Credentials | None:
        """The token in MODAL_KEY and MODAL_SECRET, or None. Raises ValueError for a wrong one."""
        token = read_proxy_token(environment)
        return cls(*token) if token is not None else None


@dataclass(frozen=True)
class Tls:
    """PEM files' contents for a TLS connection; None means the system's own (client.rpc.trust)."""

    root_certificates: bytes | None = field(default=None, repr=False)
    private_key: bytes | None = field(default=None, repr=False)
    certificate_chain: bytes | None = None


@dataclass(frozen=True)
class Endpoint:
    """The service's address and credentials. `tls` is None for a plain connection."""

    host: str
    port: int
    tls: Tls | None = None
    credentials: Credentials | None = None

    @classmethod
    def parse(
        cls,
        address: str,
        credentials: Credentials | None = None,
        root_certificates: bytes | None = None,
    ) -> Endpoint:
        """Read `host:port`, `http://`, `grpc://`, `https://` or `grpcs://`.

        Without a scheme the connection is plain. Without a port it is 50051, or 443 with TLS.
        Raises ValueError, with a sentence for the person who typed the address.
        """
        example = "Write it like 127.0.0.1:50051 or https://example.modal.run."
        try:
            parts = urlsplit(address if "://" in address else f"grpc://{address}")
        except ValueError as error:
            raise ValueError(f"The address {address!r} is not understood. {example}") from error
        if parts.scheme not in _PLAIN_SCHEMES | _TLS_SCHEMES:
            known = "http, https, grpc and grpcs"
            raise ValueError(
                f"The address {address!r} has the scheme {parts.scheme!r}; known are {known}."
            )
        if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError(f"The gRPC address {address!r} is more than host and port. {example}")
        try:
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"The address {address!r} has no valid port. {example}") from error
        if not host:
            raise ValueError(f"The address {address!r} names no host. {example}")
        try:
            host = to_ascii_host(host)
        except ValueError as error:
            raise ValueError(f"The address {address!r} names no host: {error}") from error
        tls = Tls(root_certificates) if parts.scheme in _TLS_SCHEMES else None
        default_port = DEFAULT_GRPC_PORT if tls is None else DEFAULT_TLS_PORT
        return cls(host, port if port is not None else default_port, tls, credentials)

    @property
    def target(self) -> str:
        """`host:port` as gRPC writes it."""
        return join_host_port(self.host, self.port)

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine."""
        return is_loopback(self.host)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Metadata that every call must carry. gRPC wants lower-case keys."""
        if self.credentials is None:
            return ()
        return (
            ("modal-key", self.credentials.key),
            ("modal-secret", self.credentials.secret),
        )

    def __str__(self) -> str:
        return self.target
