"""requirements/*.txt: pinned, hashed, and within what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+).*\\$")
EXTRAS = ("core", "server", "client", "gateway", "modal")


def read_project() -> dict[str, list[str]]:
    """What each requirements file has to satisfy."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = project["dependencies"]
    return {"core": core} | {
        extra: core + project["optional-dependencies"][extra] for extra in EXTRAS[1:]
    }


def read_pins(extra: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{extra}.txt").read_text().splitlines()
    return {canonicalize_name(m[1]): m[2] for line in lines if (m := PIN.match(line))}


@pytest.mark.parametrize("extra", EXTRAS)
def test_pins_satisfy_the_project(extra: str) -> None:
    pins = read_pins(extra)
    for text in read_project()[extra]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (
            f"{text}: run `uv run poe requirements`"
        )


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_pin_has_a_hash_and_no_file_names_a_host(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text()
    blocks = re.split(r"\n(?=\w)", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "--index" not in text
