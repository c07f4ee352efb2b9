"""stt-transcribe with recordings as users have them: batches, odd places, interruptions."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import srt
import webvtt

from tests.integration.client.transcribing import COMMAND, environment, in_shell, transcribe
from tests.odd_recordings import RATE_HERTZ, encode, speech, wav_header, written
from tests.support import Recording, Service


@pytest.fixture
def recording(beginnings: tuple[Recording, ...]) -> Recording:
    return beginnings[0]


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
