"""NVIDIA's clients against a gRPC port with TLS that asks for a key, as NVIDIA's own cloud is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.conformance.released import RIVA_KINDS, Client, find_python
from tests.conformance.speech import Speech, make_speech
from tests.support import Recording, Service, run_service

pytestmark = pytest.mark.skipif(
    find_python() is None, reason="other people's clients are not installed: uv run poe conformance"
)

SECRET = "a-secret-of-some-length-0001"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, and one for 127.0.0.1 with its key."""
    folder = tmp_path_factory.mktemp("authority")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "keys").write_text(f"somebody:{SECRET}\n")
    (folder / "keys").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def secured(authority: Path) -> Iterator[Service]:
    tls = ("--tls-cert", str(authority / "cert.pem"), "--tls-key", str(authority / "key.pem"))
    with run_service(*tls, "--keys", str(authority / "keys"), "--no-gateway") as service:
        yield service


def test_all_of_them(
    authority: Path, secured: Service, beginnings: tuple[Recording, ...], tmp_path: Path
):
    turn: Speech = make_speech(beginnings[:1], tmp_path)
    # The frameworks have no setting for whom to trust, and gRPC reads this once in a process.
    trust = {"GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority / "ca.pem")}
    clients = {kind: Client(kind, trust) for kind in RIVA_KINDS}
    try:
        for client in clients.values():
            client.wait_until_ready()
        with ThreadPoolExecutor(len(RIVA_KINDS)) as pool:
            talking = {
                kind: pool.submit(client.talk, secured.grpc, turn, uses_tls=True, key=SECRET)
                for kind, client in clients.items()
            }
            reports = {kind: future.result() for kind, future in talking.items()}
        for kind, report in reports.items():
            assert (report.text, report.errors) == (turn.text, []), (kind, report)
        refused = clients["riva_sdk"].talk(secured.grpc, turn, uses_tls=True, key="another")
        assert "StatusCode.UNAUTHENTICATED" in refused.errors[0]
    finally:
        for client in clients.values():
            client.end()
