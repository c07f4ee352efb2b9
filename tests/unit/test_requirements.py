"""requirements/*.txt: pinned, hashed, and within what pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([\w.-]+)==([^\s;]+).*\\$")
EXTRAS = ("server", "client", "gateway", "modal")
FILES = ("core", *EXTRAS, "dev")
OURS = ("kyutai-stt", "digits-training")


def read_project() -> dict[str, list[str]]:
    """What each requirements file has to satisfy."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    core = pyproject["project"]["dependencies"]
    extras = pyproject["project"]["optional-dependencies"]
    tools = [
        text
        for text in pyproject["dependency-groups"]["dev"]
        if canonicalize_name(Requirement(text).name) not in OURS
    ]
    return {
        "core": core,
        **{extra: core + extras[extra] for extra in EXTRAS},
        "dev": core + [text for extra in extras.values() for text in extra] + tools,
    }


def read_pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    return {canonicalize_name(m[1]): m[2] for line in lines if (m := PIN.match(line))}


@pytest.mark.parametrize("name", FILES)
def test_pins_satisfy_the_project(name: str) -> None:
    pins = read_pins(name)
    for text in read_project()[name]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (
            f"{text}: run `uv run poe requirements`"
        )


@pytest.mark.parametrize("name", FILES)
def test_every_pin_has_a_hash_and_no_file_names_a_host(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=\w)", text)[1:]
    assert blocks
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "--index" not in text
