"""Runs a released client, unchanged, in the environment of other people's clients."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.speech import Speech

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / ".clients"
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


class Client:
    """A client that is to transcribe the conversation at real time."""

    def __init__(self, kind: str, http: str, speech: Speech) -> None:
        python = find_python()
        assert python is not None
        arguments = [str(speech.path), str(len(speech.text.split())), *map(str, speech.turn_ends_s)]
        self._process = subprocess.Popen(
            [python, str(CLIENTS / f"{kind}.py"), http, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        )

    def wait_until_ready(self) -> None:
        """Until everything is imported, which takes seconds."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == "ready\n", self._process.communicate(timeout=TIMEOUT_S)

    def talk(self) -> Report:
        """Let it connect and talk to its end."""
        try:
            said, log = self._process.communicate("\n", timeout=TIMEOUT_S)
        finally:
            self._process.kill()
        assert said.strip(), log[-4000:]
        return Report(**json.loads(said.splitlines()[-1]), log=log[-4000:])


def run_client(kind: str, http: str, speech: Speech) -> Report:
    """What one client shows to its user."""
    client = Client(kind, http, speech)
    client.wait_until_ready()
    return client.talk()
