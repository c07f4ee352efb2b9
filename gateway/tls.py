"""TLS files on both sides of the gateway, read again when they change, as renewal tools do it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from client.rpc.endpoint import Endpoint, Tls

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Reloaded(Generic[T]):
    """What `load` makes of some files, made again when one of them has changed.

    The first `load` may raise; if a later one does, the log says why and the last good value stays.
    """

    def __init__(self, paths: tuple[Path, ...], load: Callable[[], T]) -> None:
        self._paths = paths
        self._load = load
        # Before the files are read: a change meanwhile is seen as one.
        self._stamp = self._stamps()
        self._value = load()

    def get(self) -> T:
        """The value of the files as they are now. Costs one `stat` per file if nothing changed."""
        stamp = self._stamps()
        if stamp != self._stamp:
            self._stamp = stamp
            names = ", ".join(map(str, self._paths))
            try:
                self._value = self._load()
                _log.info("TLS files read again: %s", names)
            except (OSError, ValueError) as error:
                _log.error("changed TLS files cannot be used: %s: %s", names, error)
        return self._value

    def _stamps(self) -> tuple[object, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError as error:
        return error.errno
    # Renewal tools rename a new file into place, or point a link at it: then the inode changes.
    return status.st_ino, status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class ServerFiles:
    """PEM files of the gateway's own certificate chain and its private key."""

    certificate: Path
    private_key: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """Both."""
        return self.certificate, self.private_key

    def load(self) -> ssl.SSLContext:
        """The context to serve with. Raises ValueError, which names the options."""
        return load_server_context(self.certificate, self.private_key)


@dataclass(frozen=True)
class UpstreamFiles:
    """PEM files for the connection to the service; None where nothing is given."""

    authority: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that are given."""
        found = (self.authority, self.certificate, self.private_key)
        return tuple(path for path in found if path is not None)

    def load(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint with what the files hold now. Raises ValueError, which names the options."""
        # Imported here so that `--help` does not wait for gRPC.
        from client.rpc.trust import check_client_certificate

        tls = Tls(
            _read_authority(self.authority) if self.authority is not None else None,
            _read("--upstream-key", self.private_key),
            _read("--upstream-cert", self.certificate),
        )
        try:
            check_client_certificate(tls.private_key, tls.certificate_chain)
        except ValueError as error:
            raise ValueError(f"--upstream-cert and --upstream-key: {error}") from error
        return replace(endpoint, tls=tls)


def _read(option: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{option} {path} cannot be read: {error.strerror}.") from error


def _read_authority(path: Path) -> bytes | None:
    """The certificates to trust, checked now: gRPC would report a bad file only when connecting."""
    roots = _read("--upstream-ca", path)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError as error:
        raise ValueError(f"--upstream-ca {path} holds no certificate in PEM format.") from error
    return roots


def load_server_context(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """A server's TLS context. Raises ValueError, which names the option of the wrong file."""
    for option, path in (("--tls-cert", certificate), ("--tls-key", private_key)):
        _read(option, path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # An empty password, so that a locked key fails and does not ask the terminal.
        context.load_cert_chain(certificate, private_key, password=b"")
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(
            f"--tls-cert {certificate} and --tls-key {private_key} cannot be used: both must be in "
            "PEM format, the key without a password, and belong to each other."
        ) from error
    return context
