"""The contract only grows: what the check says of changes to it."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pages import ROOT

PROTO = Path("stt", "v1", "stt.proto")
RELEASED = "stt-0.1.0.txtpb"


def compare(folder: Path, old: str, new: str) -> subprocess.CompletedProcess[str]:
    """Compare a changed contract with the last release's, as `poe check` does."""
    for name in ("buf.yaml", RELEASED):
        shutil.copy(ROOT / "proto" / name, folder)
    contract = (ROOT / "proto" / PROTO).read_text()
    assert contract.count(old) == 1
    (folder / PROTO).parent.mkdir(parents=True)
    (folder / PROTO).write_text(contract.replace(old, new))
    command = ["buf", "breaking", "--against", RELEASED]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "  string flush_id = 1;\n}\n\n// One message from",
            "}\n\n// One message from",
            "flush_id",
        ),
        ("  bytes audio = 2;\n    // A flush", "  string audio = 2;\n    // A flush", "audio"),
        ("ENCODING_MULAW = 3", "ENCODING_ULAW = 3", "ENCODING_MULAW"),
        ("  rpc GetServerInfo(", "  rpc GetInfo(", "GetServerInfo"),
    ],
)
def test_what_clients_of_the_last_release_need_stays(tmp_path, old, new, said) -> None:
    compared = compare(tmp_path, old, new)
    assert compared.returncode != 0
    assert said in compared.stdout


def test_new_fields_are_welcome(tmp_path) -> None:
    compared = compare(tmp_path, "message Ping {}", "message Ping {\n  bool more = 1;\n}")
    assert (compared.returncode, compared.stdout) == (0, "")
