"""Runs released clients, unchanged, in the environment of other people's clients."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conformance.speech import Speech
from tests.support import Service

CLIENTS = Path(__file__).parent / "clients"
ENVIRONMENT = Path(__file__).parents[2] / ".clients"
PYTHON_VARIABLE = "CLIENTS_PYTHON"
"""Another environment that has them."""
TIMEOUT_S = 100
LOG_BYTES = 100_000
READY, ANSWER = "ready", "answer "
"""As in clients/conversation.py, which cannot be imported here."""

GATEWAY_KINDS = (
    "gradium_sdk",
    "gradium_sdk_file",
    "openai_sdk",
    "livekit_kyutai",
    "livekit_gradium",
    "livekit_openai",
    "pipecat_gradium",
    "pipecat_openai",
)
RIVA_KINDS = ("riva_sdk", "livekit_nvidia", "pipecat_nvidia")
"""They connect to the gRPC port."""
KINDS = GATEWAY_KINDS + RIVA_KINDS


@dataclass(frozen=True)
class Report:
    """What a client showed to its user."""

    finals: list[str]
    partials: list[str]
    starts_s: list[float]
    errors: list[str]
    log: str
    """What it wrote beside."""

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.finals).split())


def find_python() -> str | None:
    """The interpreter that has the clients; None where they are not installed."""
    python = os.environ.get(PYTHON_VARIABLE) or str(ENVIRONMENT / "bin" / "python")
    return python if Path(python).is_file() else None


def choose_address(kind: str, service: Service) -> str:
    """Where a client finds its protocol."""
    return service.grpc if kind in RIVA_KINDS else service.http


class Client:
    """A process with a client that is to transcribe conversations at real time."""

    def __init__(self, kind: str, env: dict[str, str] | None = None) -> None:
        python = find_python()
        assert python is not None
        environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(CLIENTS / f"{kind}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**environment, **(env or {})},
        )
        self._is_ready = False

    def wait_until_ready(self) -> None:
        """Until everything is imported, which takes seconds."""
        if not self._is_ready:
            self._read_line(READY)
            self._is_ready = True

    def talk(self, address: str, speech: Speech, **settings: Any) -> Report:
        """Let it connect there and talk to its end; settings are those of a `Conversation`."""
        self.wait_until_ready()
        log_from = self._measure_log()
        conversation = {
            "address": address,
            "path": str(speech.path),
            "words": len(speech.text.split()),
            "turn_ends_s": speech.turn_ends_s,
            **settings,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(conversation) + "\n")
        self._process.stdin.flush()
        answer = self._read_line(ANSWER)
        return Report(**json.loads(answer.removeprefix(ANSWER)), log=self._read_log(log_from))

    def end(self) -> None:
        """It has nothing more to say."""
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def _read_line(self, beginning: str) -> str:
        """The next line that begins so; the clients may print others."""
        assert self._process.stdout is not None
        # Without a process there is an end of its lines.
        watchdog = threading.Timer(TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            for line in self._process.stdout:
                if line.startswith(beginning):
                    return line
        finally:
            watchdog.cancel()
        raise AssertionError(f"the client has ended: {self._read_log(0)}")

    def _measure_log(self) -> int:
        return os.fstat(self._log.fileno()).st_size

    def _read_log(self, start: int) -> str:
        # The client writes where this file stands, so that nobody may seek in it.
        start = max(start, self._measure_log() - LOG_BYTES)
        return os.pread(self._log.fileno(), LOG_BYTES, start).decode(errors="replace")


class Clients:
    """A process for each kind, started when it is first needed."""

    def __init__(self) -> None:
        self._running: dict[str, Client] = {}
        self._starting = threading.Lock()

    def __getitem__(self, kind: str) -> Client:
        with self._starting:
            if kind not in self._running:
                self._running[kind] = Client(kind)
            return self._running[kind]

    def prepare(self, kinds: Iterable[str]) -> None:
        """Wait until all of them are ready: who imports keeps others from speaking in time."""
        for client in [self[kind] for kind in kinds]:
            client.wait_until_ready()

    def end(self) -> None:
        for client in self._running.values():
            client.end()
