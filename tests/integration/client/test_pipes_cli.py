"""stt-transcribe with what a shell joins: pipes, redirections, recordings of telephones."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.client.sound_system import Screen
from tests.integration.client.transcribing import COMMAND, ROOT, environment, in_shell, transcribe
from tests.odd_recordings import encode, int16_bytes, wav_header
from tests.support import MODEL_RATE_HERTZ, Recording, Service

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg: apt install")
needs_sox = pytest.mark.skipif(not shutil.which("sox"), reason="needs sox: apt install")


@pytest.fixture
def recording(beginnings: tuple[Recording, ...]) -> Recording:
    return beginnings[0]


REST_S = 11.0
"""Longer than the service waits for a caller who says nothing else."""


@dataclass
class RestingPipe:
    """What was heard of a pipe's beginning, and what its writer will write after a rest."""

    process: subprocess.Popen[bytes]
    heard: bytes
    rest: bytes
    rests_since: float


@pytest.fixture(scope="module", autouse=True)
def resting_pipe(service: Service, recordings: tuple[Recording, ...]) -> Iterator[RestingPipe]:
    """Its writer rests while the other tests of this file run, so that nobody waits for it."""
    process = subprocess.Popen(
        [*COMMAND, "--grpc", service.grpc, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        data = int16_bytes(recordings[0].samples())
        gap = round(1.6 * MODEL_RATE_HERTZ) * 2
        process.stdin.write(wav_header(0xFFFFFFFF, MODEL_RATE_HERTZ) + data[:gap])
        process.stdin.flush()
        # The pipe is open: what is heard now came out of a recording that goes on.
        heard = os.read(process.stdout.fileno(), 100)
        yield RestingPipe(process, heard, data[gap:], time.monotonic())
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("ffmpeg -v error -i {wav} -f wav - | stt-transcribe -", marks=needs_ffmpeg),
        pytest.param("ffmpeg -v error -i {wav} -f mp3 - | stt-transcribe -", marks=needs_ffmpeg),
        pytest.param(
            "ffmpeg -v error -i {wav} -f ogg -c:a libopus - | stt-transcribe -", marks=needs_ffmpeg
        ),
        pytest.param("stt-transcribe <(ffmpeg -v error -i {wav} -f flac -)", marks=needs_ffmpeg),
        pytest.param("sox {wav} -t wav - | stt-transcribe -", marks=needs_sox),
        pytest.param("sox {wav} -t aiff - | stt-transcribe -", marks=needs_sox),
        pytest.param("sox {wav} -t flac - | stt-transcribe /dev/stdin", marks=needs_sox),
        "stt-transcribe - < {wav}",
        "stt-transcribe /dev/stdin < {wav}",
        "cat {wav} | stt-transcribe /dev/stdin",
        "cat {wav} | stt-transcribe - --output /dev/stdout",
        "mkfifo {tmp}/pipe; cat {wav} > {tmp}/pipe & sleep 0.2; stt-transcribe {tmp}/pipe",
    ],
)
def test_what_a_shell_joins_is_transcribed(
    service: Service, recording: Recording, tmp_path: Path, line: str
) -> None:
    done = in_shell(service, line.format(wav=shlex.quote(str(recording.path)), tmp=tmp_path))

    assert done.stdout == recording.text + "\n"
    assert "stt-transcribe" not in done.stderr
    assert done.returncode == 0


# Every codec is decoded by the unit tests; these are the containers.
@pytest.mark.parametrize(
    "kind",
    [
        "m4a",
        "webm",
        "mp4_fragments",
        "aac",
        pytest.param("m4a_alac", marks=pytest.mark.slow),
        pytest.param("mp3", marks=pytest.mark.slow),
    ],
)
def test_what_telephones_and_browsers_record_is_transcribed(
    service: Service, recording: Recording, tmp_path: Path, kind: str
) -> None:
    data = encode(kind, recording.samples(), MODEL_RATE_HERTZ)
    (tmp_path / "memo").write_bytes(data)
    for done in (transcribe(service, tmp_path / "memo"), transcribe(service, "-", data=data)):
        assert done.stdout.split() == recording.text.split()
        assert done.stderr == ""
        assert done.returncode == 0


def test_ctrl_c_finishes_what_a_pipe_has_given(service: Service, recording: Recording) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--grpc", service.grpc, "-", "--format", "json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment(), "TTY_COMPATIBLE": "1"},
    )
    try:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(wav_header(0xFFFFFFFF, MODEL_RATE_HERTZ))
        process.stdin.write(int16_bytes(recording.samples()))
        process.stdin.flush()
        while recording.text.split()[0].encode() not in os.read(process.stderr.fileno(), 4_096):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()

    assert json.loads(output)["transcript"] == recording.text
    assert process.returncode == 0


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux: apt install tmux")
def test_a_person_sees_a_pipe_being_transcribed(
    service: Service, recording: Recording, tmp_path: Path
) -> None:
    # A program that records does not know how long it will be, so this one is not over.
    head = wav_header(0xFFFFFFFF, MODEL_RATE_HERTZ)
    (tmp_path / "live.wav").write_bytes(head + int16_bytes(recording.samples()))
    line = f"(cat {tmp_path}/live.wav; sleep 60) | {shlex.join(COMMAND)} --grpc {service.grpc} -"
    screen = Screen(tmp_path, f"cd {ROOT}; {line}", {**environment()})
    try:
        shown = screen.wait_for(recording.text.split()[-1])
        assert "listening to standard input" in shown
        screen.press("C-c")
        assert recording.text in screen.wait_for("exit code 0")
    finally:
        screen.close()


@pytest.mark.parametrize(
    ("data", "complaint", "has_text"),
    [
        (b"", "standard input is empty", False),
        (b"<html></html>", "is a web page", False),
        (wav_header(0), "holds a header and no audio", False),
        ("cut", r"is cut off: its header promises 5\.0 s of audio, and 2\.5 s are there", True),
    ],
)
def test_a_pipe_that_fails_says_so(
    service: Service,
    recordings: tuple[Recording, ...],
    data: bytes | str,
    complaint: str,
    has_text: bool,
) -> None:
    if isinstance(data, str):
        whole = recordings[0].path.read_bytes()
        data = whole[: len(whole) // 2]
    done = transcribe(service, "-", data=data)

    assert re.search(complaint, done.stderr)
    assert len(done.stderr.splitlines()) == 1
    assert bool(done.stdout.strip()) == has_text
    assert done.returncode == 3


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_descriptors_are_told(service: Service, recording: Recording, closed: str) -> None:
    name = "-" if closed == "<&-" else shlex.quote(str(recording.path))
    done = in_shell(service, f"stt-transcribe {name} {closed}")

    assert re.fullmatch(r"stt-transcribe: standard \w+ is closed\.\n", done.stderr.lower())
    assert done.returncode in (1, 3)


def test_words_come_while_the_pipe_is_open_and_survive_its_rests(
    resting_pipe: RestingPipe, recordings: tuple[Recording, ...]
) -> None:
    process, words = resting_pipe.process, recordings[0].text.split()
    assert resting_pipe.heard.decode() == words[0]
    time.sleep(max(0.0, resting_pipe.rests_since + REST_S - time.monotonic()))
    output, errors = process.communicate(resting_pipe.rest, timeout=60)

    assert (resting_pipe.heard + output).decode().split()[-3:] == words[-3:]
    assert errors == b""
    assert process.returncode == 0
