"""The client installed alone: what it pulls in, and how fast its commands answer."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = ["stt-transcribe", "stt-latency", "stt-demo"]
MAX_HELP_CPU_S = 0.5
NOT_FOR_A_CLIENT = {"torch", "moshi", "modal", "starlette", "uvicorn", "sphn", "matplotlib"}

pytestmark = pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv: pip install uv")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment with `.[client]` in it."""
    environment = tmp_path_factory.mktemp("alone") / "venv"
    python = environment / "bin" / "python"
    subprocess.run(["uv", "venv", "-q", "--python", "3.11", environment], check=True)
    install = ["uv", "pip", "install", "-q", "--python", python, f"{ROOT}[client]"]
    subprocess.run(install, check=True)
    return environment


def test_a_client_pulls_no_model_and_no_server(alone: Path) -> None:
    listed = subprocess.run(
        ["uv", "pip", "list", "-q", "--python", alone / "bin" / "python", "--format", "json"],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {package["name"].lower() for package in json.loads(listed.stdout)}

    assert "kyutai-stt" in names
    assert not names & NOT_FOR_A_CLIENT
    assert not any(name.startswith("nvidia") for name in names)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick(alone: Path, command: str) -> None:
    run = [alone / "bin" / command, "--help"]
    # The first run compiles byte code; the second does not.
    subprocess.run(run, check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = subprocess.run(run, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)

    assert shown.stdout.startswith(f"usage: {command}")
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used_s < MAX_HELP_CPU_S


def test_a_demo_without_the_server_says_what_is_missing(alone: Path) -> None:
    done = subprocess.run([alone / "bin" / "stt-demo"], capture_output=True, text=True, cwd=alone)

    assert done.returncode == 1
    assert "pip install '.[server,gateway]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_library_is_imported_alone(alone: Path) -> None:
    imports = "from client.stream import SttClient; from client.blocking import BlockingSttClient"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [alone / "bin" / "python", "-c", imports], check=True, cwd=alone, env=environment
    )
