"""Which authorities are trusted: one rule for gRPC and for WebSocket.

If the caller gives certificates, only those. Otherwise the ones that OpenSSL itself would use: the
files of SSL_CERT_FILE and SSL_CERT_DIR if they are set, else the system's store. If a system has
none (Python from python.org on macOS), Mozilla's list from certifi.

gRPC has a list of its own and reads neither the variables nor the store, so it would not trust a
company's authority that every other program trusts. So we read the certificates and give the same
ones to both.
"""

from __future__ import annotations

import functools
import os
import re
import ssl
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import certifi

FOLDER_VARIABLE = "SSL_CERT_DIR"
# gRPC's own variable keeps its meaning where OpenSSL's is not set.
FILE_VARIABLES = ("SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH")

_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", flags=re.DOTALL
)
# OpenSSL finds a certificate in a folder only by this name, a hash of its subject.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.\d+")


def read_trusted_roots(environment: Mapping[str, str] = os.environ) -> bytes:
    """The trusted authorities as PEM. Raises ValueError for a variable that names none."""
    found = dict.fromkeys([*_from_file(environment), *_from_folders(environment), *_from_windows()])
    if not found:
        found = dict.fromkeys(_CERTIFICATE.findall(Path(certifi.where()).read_bytes()))
    return b"\n".join(found) + b"\n"


def _from_file(environment: Mapping[str, str]) -> list[bytes]:
    variable = next((name for name in FILE_VARIABLES if environment.get(name)), None)
    if variable is None:
        path = Path(ssl.get_default_verify_paths().openssl_cafile)
        return _CERTIFICATE.findall(path.read_bytes()) if path.is_file() else []
    try:
        found = _CERTIFICATE.findall(Path(environment[variable]).read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(
            f"{variable} names {environment[variable]!r}, which cannot be read: {reason}."
        ) from error
    if not found:
        raise ValueError(f"{variable} names {environment[variable]!r}, which holds no certificate.")
    return found


def _from_folders(environment: Mapping[str, str]) -> Iterator[bytes]:
    named = environment.get(FOLDER_VARIABLE)
    for folder in (named or ssl.get_default_verify_paths().openssl_capath).split(os.pathsep):
        try:
            paths = [path for path in Path(folder).iterdir() if _HASHED_NAME.fullmatch(path.name)]
            for path in sorted(paths):
                yield from _CERTIFICATE.findall(path.read_bytes())
        except OSError as error:
            if named:
                raise ValueError(
                    f"{FOLDER_VARIABLE} names {folder!r}, which cannot be read: {error.strerror}."
                ) from error


def _from_windows() -> list[bytes]:
    """The store of Windows; those of other systems are files."""
    if sys.platform != "win32":
        return []
    context = ssl.create_default_context()
    return [
        ssl.DER_cert_to_PEM_cert(certificate).encode()
        for certificate in context.get_ca_certs(binary_form=True)
    ]


@functools.lru_cache(maxsize=8)
def make_context(roots: bytes, alpn: str | None = None) -> ssl.SSLContext:
    """A client's TLS context that trusts only these authorities. Raises ValueError."""
    try:
        certificates = b"\n".join(_CERTIFICATE.findall(roots)).decode("ascii")
        context = ssl.create_default_context(cadata=certificates or "-")
    except (ssl.SSLError, UnicodeError) as error:
        raise ValueError(
            "The root certificates are not understood; they must be certificates in PEM format."
        ) from error
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


def check_client_certificate(private_key: bytes | None, certificate_chain: bytes | None) -> None:
    """Raise ValueError for a key or certificate that cannot be used, or half of the pair."""
    if private_key is None and certificate_chain is None:
        return
    if private_key is None or certificate_chain is None:
        raise ValueError("A client certificate needs both its private key and its chain.")
    # OpenSSL's own reader, which takes files only.
    with tempfile.TemporaryDirectory() as folder:
        key, chain = Path(folder, "key.pem"), Path(folder, "chain.pem")
        key.write_bytes(private_key)
        chain.write_bytes(certificate_chain)
        try:
            # An empty password, so that OpenSSL does not ask for one on the terminal.
            ssl.create_default_context().load_cert_chain(chain, key, password=b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ValueError(
                "The client certificate and its private key cannot be used: both must be in PEM "
                "format, the key without a password, and belong to each other."
            ) from error
