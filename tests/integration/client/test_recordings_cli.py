"""stt-transcribe with recordings as users have them: pipes, batches, odd places."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import srt
import webvtt

from tests.integration.client.sound_system import Screen
from tests.odd_recordings import RATE_HERTZ, encode, int16_bytes, speech, wav_header, written
from tests.support import MODEL_RATE_HERTZ, Recording, Service

COMMAND = [sys.executable, "-m", "client.transcribe_cli"]
ROOT = Path(__file__).resolve().parents[3]

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg: apt install")
needs_sox = pytest.mark.skipif(not shutil.which("sox"), reason="needs sox: apt install")


@pytest.fixture
def recording(beginnings: tuple[Recording, ...]) -> Recording:
    return beginnings[0]


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


def test_words_come_while_the_pipe_is_open_and_survive_its_rests(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    """A writer that pauses for longer than the service's default timeout."""
    recording = recordings[0]
    data = int16_bytes(recording.samples())
    process = subprocess.Popen(
        [*COMMAND, "--grpc", service.grpc, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    try:
        assert process.stdin is not None and process.stdout is not None
        head = wav_header(0xFFFFFFFF, MODEL_RATE_HERTZ)
        gap = round(1.6 * MODEL_RATE_HERTZ) * 2
        process.stdin.write(head + data[:gap])
        process.stdin.flush()
        words = recording.text.split()
        # The pipe is open: what is heard now came out of a recording that goes on.
        heard = os.read(process.stdout.fileno(), 100)
        assert heard.decode() == words[0]
        time.sleep(11)
        process.stdin.write(data[gap:])
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert (heard + output).decode().split()[-3:] == words[-3:]
    assert errors == b""
    assert process.returncode == 0


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
    line = f"(cat {recording.path}; sleep 60) | {shlex.join(COMMAND)} --grpc {service.grpc} -"
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


def make_batch(folder: Path, recordings: tuple[Recording, ...]) -> list[Path]:
    """Two recordings of one base name, a bad one, one that is cut off."""
    names = ["a/talk.wav", "bad.wav", "b/talk.wav", "cut.wav"]
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
    paths[0].write_bytes(recordings[0].path.read_bytes())
    paths[1].write_bytes(b"no audio\n")
    paths[2].write_bytes(recordings[1].path.read_bytes())
    whole = recordings[0].path.read_bytes()
    paths[3].write_bytes(whole[: len(whole) // 2])
    return paths


def test_a_batch_skips_what_is_bad_and_names_it(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path
) -> None:
    paths = make_batch(tmp_path, recordings)
    output = tmp_path / "out"
    output.mkdir()
    done = transcribe(service, *paths, "--output", output)

    written = {path.name: path.read_text() for path in output.iterdir()}
    assert written["talk.txt"] == recordings[0].text + "\n"
    assert written["talk-2.txt"] == recordings[1].text + "\n"
    assert recordings[0].text.startswith(written["cut.txt"].strip())
    assert set(written) == {"talk.txt", "talk-2.txt", "cut.txt"}
    told = done.stderr.splitlines()
    assert told[0].endswith(f"the transcript of {paths[2]} will be {output / 'talk-2.txt'}.")
    assert "bad.wav is text" in told[1]
    assert "cut.wav is cut off" in told[2]
    assert done.returncode == 3


@pytest.mark.parametrize("format_name", ["text", "json"])
def test_a_batch_on_standard_output_keeps_its_order(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path, format_name: str
) -> None:
    paths = make_batch(tmp_path, recordings)
    done = transcribe(service, *paths[:3], "--format", format_name)

    assert done.returncode == 3
    texts = [recordings[0].text, recordings[1].text]
    if format_name == "text":
        assert done.stdout == (
            f"==> {paths[0]} <==\n{texts[0]}\n\n==> {paths[2]} <==\n{texts[1]}\n"
        )
    else:
        assert [document["transcript"] for document in json.loads(done.stdout)] == texts


@pytest.mark.parametrize(("suffix", "parse"), [("srt", srt.parse), ("vtt", webvtt.from_string)])
def test_the_output_is_what_its_name_says(
    service: Service, recording: Recording, tmp_path: Path, suffix: str, parse: object
) -> None:
    output = tmp_path / f"x.{suffix}"
    done = transcribe(service, recording.path, "--output", output)

    assert done.returncode == 0, done.stderr
    assert len(list(parse(output.read_text()))) == 1  # type: ignore[operator]


def test_ctrl_c_in_a_batch_keeps_what_is_done(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path
) -> None:
    long = tmp_path / "long.wav"
    long.write_bytes(wav_header(0) + bytes(RATE_HERTZ * 2 * 36_000))
    process = subprocess.Popen(
        [*COMMAND, "--grpc", service.grpc, recordings[0].path, long, "--output", tmp_path],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        first = tmp_path / f"{recordings[0].path.stem}.txt"
        while not first.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()

    assert errors == "stt-transcribe: interrupted; 1 of 2 recordings are done.\n"
    assert process.returncode == 130
    assert first.read_text() == recordings[0].text + "\n"
    assert not (tmp_path / "long.txt").exists()
    assert not list(tmp_path.glob(".stt-*"))


def test_a_reader_who_leaves_early_is_no_failure_of_ours(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    names = " ".join(shlex.quote(str(recording.path)) for recording in recordings[:3])
    done = in_shell(service, f"stt-transcribe {names} | head -1; echo ${{PIPESTATUS[0]}}")

    assert done.stdout.splitlines() == [f"==> {recordings[0].path} <==", "141"]
    assert done.stderr == ""


@pytest.mark.parametrize("how", ["file", "pipe", "output"])
def test_a_full_disk_is_one_sentence(service: Service, recording: Recording, how: str) -> None:
    wav = shlex.quote(str(recording.path))
    line = {
        "file": f"stt-transcribe {wav} > /dev/full",
        "pipe": f"stt-transcribe - < {wav} > /dev/full",
        "output": f"stt-transcribe {wav} --output /dev/full",
    }[how]
    done = in_shell(service, line)

    assert re.fullmatch(r"stt-transcribe: .* cannot be written \(No space.*\)\.\n", done.stderr)
    assert done.returncode == 1


def test_a_transcript_without_words_is_told_and_fine(service: Service, tmp_path: Path) -> None:
    (tmp_path / "silence.wav").write_bytes(written(0 * speech()))
    (tmp_path / "[red]tone.wav").write_bytes(written(0.001 * speech()))
    (tmp_path / os.fsdecode(b"caf\xe9\n.wav")).write_bytes(written(0 * speech()))
    done = transcribe(service, *sorted(tmp_path.glob("*.wav")))

    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 3
    assert "[red]tone.wav: no words were found in 3.0 s of audio.\n" in done.stderr
    assert "silence.wav: no words were found in 3.0 s of audio and no sound" in done.stderr
    assert "caf\\xe9\\n.wav: no words" in done.stderr


def test_a_terminal_that_knows_no_letters_gets_the_transcript(
    service: Service, recording: Recording, tmp_path: Path
) -> None:
    path = tmp_path / "größe.wav"
    path.write_bytes(recording.path.read_bytes())
    done = subprocess.run(
        [*COMMAND, "--grpc", service.grpc, path, path],
        env={**environment(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
    )

    assert done.stdout.count(recording.text) == 2
    assert done.returncode == 0


ENTRIES = ["client.transcribe_cli", "client.latency_test", "client.demo.__main__"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_loads_next_to_nothing_before_it_minds_ctrl_c(entry: str) -> None:
    program = f"import sys; old = set(sys.modules); import {entry}; print(*set(sys.modules) - old)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    loaded = {name.partition(".")[0] for name in shown.stdout.split()}

    light = {"client", "stt_service", "signal", "contextlib", "errno", "io", "abc", "enum", "types"}
    light |= {"operator", "functools", "collections", "keyword", "reprlib", "itertools", "os"}
    assert {name.lstrip("_") for name in loaded} <= light | {"future__"}


@pytest.mark.parametrize("entry", ENTRIES)
def test_ctrl_c_while_a_command_loads_is_quiet(
    service: Service, recording: Recording, entry: str
) -> None:
    arguments = {
        ENTRIES[0]: ["--grpc", service.grpc, str(recording.path), "-"],
        ENTRIES[1]: ["--grpc", service.grpc, "-n", "9"],
        ENTRIES[2]: [],
    }[entry]
    program = f"import sys; from {entry} import program; print(flush=True); program()"
    for moment in range(7):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            # Anywhere in its first second: while it loads, while it connects.
            time.sleep(0.02 + 0.08 * moment)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode in (130, -signal.SIGINT), errors
        told = errors.splitlines()
        assert all(line.startswith(("stt-demo: interr", "stt-transcribe: interr")) for line in told)


def test_latency_reads_what_the_others_read(service: Service, tmp_path: Path) -> None:
    script = [sys.executable, "-m", "client.latency_test", "--grpc", service.grpc]
    (tmp_path / "bad.wav").write_bytes(wav_header(0))
    bad = subprocess.run(
        [*script, "--wav", tmp_path / "bad.wav"], capture_output=True, text=True, env=environment()
    )
    good = subprocess.run(
        [*script, "--rtf", "4", "--wav", "/dev/stdin"],
        input=encode("m4a", speech()),
        capture_output=True,
        env=environment(),
    )

    assert bad.returncode == 3
    assert bad.stderr == f"stt-latency: {tmp_path}/bad.wav holds a header and no audio.\n"
    assert good.returncode == 0, good.stderr
