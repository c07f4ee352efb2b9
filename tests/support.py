"""Real servers and real recordings for the tests."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from client import recordings

MODEL_RATE_HERTZ = 24_000


class Recording(recordings.Recording):
    """A demo recording with its sound."""

    def samples(self) -> npt.NDArray[np.float32]:
        """Mono float32 at the model's rate."""
        pcm, rate = soundfile.read(self.path, dtype="float32")
        return soxr.resample(pcm, rate, MODEL_RATE_HERTZ).astype(np.float32)

    def pcm_f32le(self) -> bytes:
        """What the documented WebSocket client sends."""
        return self.samples().astype("<f4").tobytes()


@cache
def load_recordings() -> tuple[Recording, ...]:
    """Those of people: one for each of eight slots."""
    return tuple(one for one in load_all_recordings() if not one.synthetic)


@cache
def load_all_recordings() -> tuple[Recording, ...]:
    return tuple(Recording(**vars(recording)) for recording in recordings.load_recordings())


def write_beginning(recording: Recording, folder: Path, words: int = 3) -> Recording:
    """A recording's first words as a recording of their own, in a file of the same name."""
    cut_s = (recording.words[words - 1].end_s + recording.words[words].start_s) / 2
    path = folder / recording.path.name
    soundfile.write(path, recording.samples()[: round(cut_s * MODEL_RATE_HERTZ)], MODEL_RATE_HERTZ)
    kept = recording.words[:words]
    text = " ".join(word.text for word in kept)
    return replace(recording, path=path, duration_s=cut_s, text=text, words=kept)


@dataclass
class Service:
    """A running stt-serve and what its ready line says. Addresses are HOST:PORT."""

    process: subprocess.Popen[str]
    fields: dict[str, str]

    @property
    def grpc(self) -> str:
        return self.fields["grpc"]

    @property
    def http(self) -> str:
        return self.fields.get("http", "")

    @property
    def websocket_url(self) -> str:
        return f"ws://{self.http}/v1/stream"


def own_address() -> str:
    """An address of this machine that other machines could use, or a spelling of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.1"
        return probe.getsockname()[0]


@contextlib.contextmanager
def run_service(
    *arguments: str,
    env: dict[str, str] | None = None,
    log: IO[str] | None = None,
    descriptors: int | None = None,
) -> Iterator[Service]:
    """Run `stt-serve` with the embedded model on free ports while the block runs; what it and its
    gateway write to standard error goes to `log`, if there is one. `descriptors` is how many the
    system lets it have."""
    command = [
        *(sys.executable, "-m", "stt_service", "--device", "cpu", "--threads", "1"),
        *("--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--drain-grace", "0"),
        # Where many tests share a core, a model that is behind is no reason to refuse.
        *("--max-behind", "60"),
        *arguments,
    ]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        assert process.stdout is not None
        ready = process.stdout.readline()
        fields = dict(re.findall(r"(\w+)=(\S+)", ready))
        assert "grpc" in fields, f"stt-serve did not become ready: {ready!r}"
        yield Service(process, fields)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout and process.stdout.close()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
