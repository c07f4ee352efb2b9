"""stt-transcribe as a child process, with a service of the tests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support import Service

COMMAND = [sys.executable, "-m", "client.transcribe_cli"]
ROOT = Path(__file__).resolve().parents[3]


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MODAL_")}


def transcribe(
    service: Service, *arguments: object, data: bytes | None = None, **options: object
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, "--grpc", service.grpc, *map(str, arguments)],
        input=data,
        capture_output=True,
        env=environment(),
        timeout=100,
        **options,
    )
    text = [part.decode(errors="surrogateescape") for part in (done.stdout, done.stderr)]
    assert "Traceback" not in text[1]
    assert "Exception ignored" not in text[1]
    return subprocess.CompletedProcess(done.args, done.returncode, *text)


def in_shell(service: Service, line: str) -> subprocess.CompletedProcess[str]:
    """A line as a person types it, with the command's name in it."""
    command = shlex.join([*COMMAND, "--grpc", service.grpc])
    line = line.replace("stt-transcribe", command)
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, env=environment(), timeout=100
    )
