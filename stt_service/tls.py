"""The TLS files of the gRPC port: checked with OpenSSL, which says what is wrong with them.

gRPC itself says of everything that it cannot bind its port.
"""

import ssl
from pathlib import Path

import grpc

from stt_service.config import TlsConfig
from stt_service.process.environment import InvalidSetting


def check_files(tls: TlsConfig) -> None:
    """Raises InvalidSetting, which names the option of a file that cannot be used."""
    files = {"--tls-cert": tls.certificate, "--tls-key": tls.private_key}
    if tls.client_ca is not None:
        files["--tls-client-ca"] = tls.client_ca
    for option, path in files.items():
        _check_readable(option, path)
    _check_authority("--tls-cert", tls.certificate)
    if tls.client_ca is not None:
        _check_authority("--tls-client-ca", tls.client_ca)
    _check_pair(tls)


def read_credentials(tls: TlsConfig) -> grpc.ServerCredentials:
    """Load the PEM files; with a client CA, clients without its certificate are refused."""
    pair = (tls.private_key.read_bytes(), tls.certificate.read_bytes())
    client_ca = tls.client_ca.read_bytes() if tls.client_ca else None
    return grpc.ssl_server_credentials([pair], client_ca, client_ca is not None)


def _check_readable(option: str, path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise InvalidSetting(f"{option} {path} cannot be read: {error.strerror}") from error


def _check_authority(option: str, path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except ssl.SSLError as error:
        raise InvalidSetting(f"{option} {path} holds no certificate in PEM format") from error


def _check_pair(tls: TlsConfig) -> None:
    certificate, key = tls.certificate, tls.private_key
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except _PasswordAsked as error:
        raise InvalidSetting(
            f"--tls-key {key} is locked with a password, which gRPC cannot ask for; unlock it, as "
            "with openssl pkey -in KEY -out UNLOCKED"
        ) from error
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise InvalidSetting(
                f"--tls-key {key} is not the key of the certificate --tls-cert {certificate}"
            ) from error
        raise InvalidSetting(f"--tls-key {key} holds no private key in PEM format") from error


class _PasswordAsked(Exception):
    pass


def _refuse_password() -> str:
    raise _PasswordAsked
