"""Which authorities are trusted, with real files."""

import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import certifi
import pytest
import trustme

from client.rpc.trust import check_client_certificate, make_context, read_trusted_roots


def authority(path: Path) -> bytes:
    certificate = trustme.CA().cert_pem
    certificate.write_to_path(path)
    return certificate.bytes().strip()


def hash_folder(folder: Path) -> None:
    """Name the certificates as OpenSSL looks for them."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    subprocess.run([openssl, "rehash", str(folder)], check=True)


def test_the_systems_store_is_read_and_can_be_used() -> None:
    assert len(make_context(read_trusted_roots({})).get_ca_certs()) > 20


def test_a_named_file_is_believed(tmp_path: Path) -> None:
    certificate = authority(tmp_path / "company.pem")
    assert certificate in read_trusted_roots({"SSL_CERT_FILE": str(tmp_path / "company.pem")})


def test_words_around_the_certificates_do_not_matter(tmp_path: Path) -> None:
    certificate = authority(tmp_path / "a.pem")
    (tmp_path / "b.pem").write_bytes("# Größe: 1\n".encode() + certificate + b"\n# end\n")
    roots = read_trusted_roots(
        {"SSL_CERT_FILE": str(tmp_path / "b.pem"), "SSL_CERT_DIR": str(tmp_path)}
    )
    assert len(make_context(roots).get_ca_certs()) == 1


def test_openssls_variable_goes_before_grpcs_own(tmp_path: Path) -> None:
    one, other = authority(tmp_path / "one.pem"), authority(tmp_path / "other.pem")
    grpcs = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(tmp_path / "one.pem")}
    assert one in read_trusted_roots(grpcs)
    both = read_trusted_roots({**grpcs, "SSL_CERT_FILE": str(tmp_path / "other.pem")})
    assert other in both
    assert one not in both


def test_a_named_folder_is_believed_as_openssl_reads_it(tmp_path: Path) -> None:
    """Only by hashed names: a certificate without one is ignored."""
    certificate = authority(tmp_path / "company.pem")
    hash_folder(tmp_path)
    unhashed = authority(tmp_path / "stray.pem")
    roots = read_trusted_roots({"SSL_CERT_DIR": str(tmp_path)})
    assert certificate in roots
    assert unhashed not in roots


def test_where_nothing_is_found_it_is_mozillas_list(tmp_path: Path) -> None:
    """As on macOS, whose Python has an empty store; here through an empty folder."""
    program = (
        "from client.rpc.trust import read_trusted_roots as read; "
        f"print(read({{'SSL_CERT_DIR': {str(tmp_path)!r}}}).count(b'BEGIN CERT'))"
    )
    if Path(ssl.get_default_verify_paths().openssl_cafile).exists():
        pytest.skip("this system's store is a file too")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    listed = Path(certifi.where()).read_bytes().count(b"BEGIN CERT")
    assert int(done.stdout) == listed


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_a_variable_that_names_nothing_is_named(variable: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{variable} names .* cannot be read"):
        read_trusted_roots({variable: str(tmp_path / "missing")})


@pytest.mark.parametrize("content", [b"", b"hello", bytes(range(256))])
def test_a_file_without_a_certificate_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"SSL_CERT_FILE names .* holds no certificate"):
        read_trusted_roots({"SSL_CERT_FILE": str(tmp_path / "empty.pem")})


BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("roots", [b"", b"PEM", BROKEN, "Ümlaut".encode(), bytes(range(256))])
def test_roots_that_are_none_are_refused_with_a_sentence(roots: bytes) -> None:
    with pytest.raises(ValueError, match="root certificates are not understood"):
        make_context(roots)


def test_a_client_certificate_and_its_key_are_checked() -> None:
    ca = trustme.CA()
    leaf, other = ca.issue_cert("a"), ca.issue_cert("b")
    key, chain = leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes()
    check_client_certificate(None, None)
    check_client_certificate(key, chain)
    for wrong in ((key, None), (None, chain)):
        with pytest.raises(ValueError, match="both its private key and its chain"):
            check_client_certificate(*wrong)
    for wrong in ((other.private_key_pem.bytes(), chain), (b"x", chain), (key, b"x"), (b"", b"")):
        with pytest.raises(ValueError, match="cannot be used"):
            check_client_certificate(*wrong)
