"""Runs a released client, unchanged, in the environment of other people's clients."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.speech import Speech

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / "build" / "clients"
PYTHON_VARIABLE = "CLIENTS_PYTHON"
"""Another environment that has them."""
TIMEOUT_S = 100

KINDS = (
    "gradium_sdk",
    "gradium_sdk_file",
    "openai_sdk",
    "livekit_kyutai",
    "livekit_gradium",
    "livekit_openai",
    "pipecat_gradium",
    "pipecat_openai",
)


@dataclass(frozen=True)
class Report:
    """What a client showed to its user."""

    finals: list[str]
    partials: list[str]
    starts_s: list[float]
    errors: list[str]
    log: str

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.finals).split())


def find_python() -> str | None:
    """The interpreter that has the clients; None where they are not installed."""
    python = os.environ.get(PYTHON_VARIABLE) or str(ENVIRONMENT / "bin" / "python")
    return python if Path(python).is_file() else None


def run_client(kind: str, http: str, speech: Speech) -> Report:
    """Let a client transcribe the conversation at real time."""
    python = find_python()
    assert python is not None
    arguments = [str(speech.path), str(len(speech.text.split())), *map(str, speech.turn_ends_s)]
    done = subprocess.run(
        [python, str(CLIENTS / f"{kind}.py"), http, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
    )
    assert done.stdout.strip(), done.stderr[-4000:]
    return Report(**json.loads(done.stdout.splitlines()[-1]), log=done.stderr[-4000:])
