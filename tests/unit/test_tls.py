"""TLS files that cannot be used are named by their option, each with its own reason."""

from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from stt_service.config import TlsConfig
from stt_service.process.environment import InvalidSetting
from stt_service.tls import check_files

NOT_PEM = [b"", b"no PEM", b"\xff\x00\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    authority = trustme.CA()
    identity = authority.issue_cert("localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("cert", "key", "ca", "other")}
    identity.cert_chain_pems[0].write_to_path(paths["cert"])
    identity.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    authority.issue_cert("localhost").private_key_pem.write_to_path(paths["other"])
    return paths


def complaint(certificate: Path, key: Path, client_ca: Path | None = None) -> str:
    with pytest.raises(InvalidSetting) as caught:
        check_files(TlsConfig(certificate, key, client_ca))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_fit_are_taken(files) -> None:
    check_files(TlsConfig(files["cert"], files["key"], files["ca"]))


@pytest.mark.parametrize("content", NOT_PEM)
def test_what_is_no_pem_is_named(files, tmp_path: Path, content: bytes) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(content)
    assert f"--tls-cert {wrong} holds no certificate" in complaint(wrong, files["key"])
    assert f"--tls-key {wrong} holds no private key" in complaint(files["cert"], wrong)
    said = complaint(files["cert"], files["key"], wrong)
    assert f"--tls-client-ca {wrong} holds no certificate" in said


@pytest.mark.parametrize("name", ["none.pem", ".", "cert.pem/x", "n" * 300])
def test_what_cannot_be_read_is_named(files, tmp_path: Path, name: str) -> None:
    wrong = tmp_path / name
    assert f"--tls-cert {wrong} cannot be read" in complaint(wrong, files["key"])
    assert f"--tls-key {wrong} cannot be read" in complaint(files["cert"], wrong)


def test_a_key_of_another_certificate_is_called_so(files) -> None:
    assert "is not the key of the certificate" in complaint(files["cert"], files["other"])


def test_certificate_and_key_exchanged(files) -> None:
    assert "--tls-cert" in complaint(files["key"], files["cert"])


def test_a_locked_key_asks_nobody_for_a_password(files, tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    key = serialization.load_pem_private_key(files["key"].read_bytes(), None)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(key.private_bytes(pem, pkcs8, serialization.BestAvailableEncryption(b"x")))
    assert "locked with a password" in complaint(files["cert"], locked)
