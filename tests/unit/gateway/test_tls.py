from pathlib import Path

import pytest
import trustme

from client.rpc.endpoint import Endpoint
from gateway.tls import Reloaded, ServerFiles, UpstreamFiles


def write(path: Path, text: str) -> None:
    """Replace a file as renewal tools do."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


def test_a_changed_file_is_read_again_and_a_bad_one_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "number"
    path.write_text("1")
    reads = []

    def load() -> int:
        reads.append(path.read_text())
        return int(path.read_text())

    number = Reloaded((path,), load)
    assert (number.get(), number.get()) == (1, 1)
    write(path, "2")
    assert number.get() == 2
    write(path, "half a")
    assert (number.get(), number.get()) == (2, 2)
    path.unlink()
    assert number.get() == 2
    write(path, "3")
    assert number.get() == 3
    assert reads == ["1", "2", "half a", "3"]
    assert len([r for r in caplog.records if r.levelname == "ERROR"]) == 2


def test_a_first_load_may_fail(tmp_path: Path):
    with pytest.raises(OSError):
        Reloaded((tmp_path / "none",), lambda: (tmp_path / "none").read_text())


def test_the_key_of_another_certificate_is_refused(tmp_path: Path):
    authority = trustme.CA()
    names = []
    for name in ("a", "b"):
        issued = authority.issue_cert("localhost")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        names.append((tmp_path / f"{name}.pem", tmp_path / f"{name}.key"))
    ServerFiles(*names[0]).load()
    with pytest.raises(ValueError, match="belong to each other"):
        ServerFiles(names[0][0], names[1][1]).load()
    endpoint = Endpoint.parse("https://example.com")
    loaded = UpstreamFiles(None, *names[1]).load(endpoint)
    assert loaded.tls is not None
    assert loaded.tls.certificate_chain == names[1][0].read_bytes()
    with pytest.raises(ValueError, match="--upstream-cert and --upstream-key"):
        UpstreamFiles(None, names[0][0], names[1][1]).load(endpoint)
