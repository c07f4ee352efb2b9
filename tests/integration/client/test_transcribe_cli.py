"""stt-transcribe with recordings: formats, places, and one sentence for whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import srt
import webvtt

from client.transcribe.subtitles import MIN_CUE_S
from tests.integration.client.refusing_gateway import run_refusing_gateway
from tests.support import Recording, Service, run_service

SCRIPT = Path(__file__).resolve().parents[3] / "client" / "transcribe_cli.py"


def transcribe(
    *arguments: object, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as the documented script, with no address in the environment."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MODAL_")}
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_a_recording_is_printed_as_text(
    service: Service, recordings: tuple[Recording, ...], protocol: str
) -> None:
    address = ["--grpc", service.grpc] if protocol == "grpc" else ["--url", service.websocket_url]
    done = transcribe(recordings[0].path, *address)

    assert done.stdout == recordings[0].text + "\n"
    assert done.stderr == ""
    assert done.returncode == 0


def test_several_recordings_as_json(service: Service, recordings: tuple[Recording, ...]) -> None:
    paths = [recording.path for recording in recordings[:2]]
    done = transcribe(*paths, "--grpc", service.grpc, "--format", "json")
    documents = json.loads(done.stdout)

    assert [document["file"] for document in documents] == [str(path) for path in paths]
    for document, recording in zip(documents, recordings, strict=False):
        assert document["transcript"] == recording.text
        for heard, spoken in zip(document["words"], recording.words, strict=True):
            assert heard["text"] == spoken.text
            assert heard["start_s"] == pytest.approx(spoken.start_s, abs=0.25)
            assert 0.0 < heard["confidence"] <= 1.0


def read_srt(path: Path) -> list[tuple[float, float, str]]:
    return [
        (cue.start.total_seconds(), cue.end.total_seconds(), cue.content)
        for cue in srt.parse(path.read_text("utf-8"))
    ]


def read_vtt(path: Path) -> list[tuple[float, float, str]]:
    def seconds(timestamp: str) -> float:
        hours, minutes, rest = timestamp.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)

    return [(seconds(cue.start), seconds(cue.end), cue.text) for cue in webvtt.read(path)]


@pytest.mark.parametrize(("format_name", "read"), [("srt", read_srt), ("vtt", read_vtt)])
@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_subtitles_are_in_time(
    service: Service,
    recordings: tuple[Recording, ...],
    tmp_path: Path,
    format_name: str,
    read: Callable[[Path], list[tuple[float, float, str]]],
    count: int,
) -> None:
    """Every cue starts with its first word and ends with its last, or when it can be read."""
    recordings = recordings[:count]
    paths = [recording.path for recording in recordings]
    to = ["--format", format_name, "--output", tmp_path]
    done = transcribe(*paths, "--grpc", service.grpc, *to)
    assert done.returncode == 0, done.stderr

    for recording in recordings:
        spoken = list(recording.words)
        for start_s, end_s, text in read(tmp_path / f"{recording.path.stem}.{format_name}"):
            said, spoken = spoken[: len(text.split())], spoken[len(text.split()) :]
            assert text.split() == [word.text for word in said]
            assert start_s == pytest.approx(said[0].start_s, abs=0.2)
            # One that is spoken quickly stays until it can be read, where there is room.
            spoken_s, readable_s = said[-1].end_s, start_s + MIN_CUE_S
            assert spoken_s - 0.2 <= end_s <= max(spoken_s, readable_s) + 0.2
        assert not spoken


def test_output_goes_into_a_file(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path
) -> None:
    output = tmp_path / "digits.txt"
    done = transcribe(recordings[0].path, "--grpc", service.grpc, "--output", output)

    assert done.stdout == ""
    assert output.read_text("utf-8") == recordings[0].text + "\n"


def test_a_local_server_is_found(recordings: tuple[Recording, ...]) -> None:
    """Without an address and without MODAL_WORKSPACE: the default port of stt-serve."""
    absent = transcribe(recordings[0].path)
    if absent.returncode == 0:
        pytest.skip("a server runs on this machine's default ports already")
    assert absent.returncode == 5
    assert "Start one with `stt-serve`" in absent.stderr

    with run_service("--grpc", "127.0.0.1:50051", "--no-gateway"):
        done = transcribe(recordings[0].path)
    assert done.stdout == recordings[0].text + "\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (["missing.wav"], 3, "There is no file missing.wav."),
        ([__file__], 3, "cannot be read as audio"),
        (["{wav}", "--grpc", "127.0.0.1:1"], 5, "Nothing answers"),
        (["{wav}", "--grpc", "ftp://host"], 2, "scheme 'ftp'"),
        (["{wav}", "--url", "http://host"], 2, "Write it like ws://"),
        (["{wav}", "{wav}", "--format", "srt"], 2, "needs --output FOLDER"),
        (["{wav}", "--device", "2"], 2, "are for the microphone"),
        (["{wav}", "--output", "/nowhere/x.txt"], 2, "there is no folder /nowhere"),
    ],
)
def test_what_goes_wrong_is_one_sentence_and_a_documented_exit_code(
    recordings: tuple[Recording, ...], arguments: list[str], exit_code: int, complaint: str
) -> None:
    filled = [argument.format(wav=recordings[0].path) for argument in arguments]
    done = transcribe(*filled)

    assert done.returncode == exit_code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("status", "exit_code", "complaint"),
    [
        (401, 4, "refused the credentials (HTTP 401). Export MODAL_KEY and MODAL_SECRET"),
        (404, 5, "no such service at this address (HTTP 404)"),
    ],
)
def test_a_refused_handshake_is_one_sentence(
    recordings: tuple[Recording, ...], status: int, exit_code: int, complaint: str
) -> None:
    with run_refusing_gateway(status) as url:
        done = transcribe(recordings[0].path, "--url", url)

    assert done.returncode == exit_code
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_half_a_token_is_wrong_usage(recordings: tuple[Recording, ...]) -> None:
    done = transcribe(recordings[0].path, env={"MODAL_KEY": "wk-1"})

    assert done.returncode == 2
    assert "MODAL_SECRET is not set" in done.stderr
