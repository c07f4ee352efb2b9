"""The benchmark of what is around the model: one small real run of each part."""

import json
from pathlib import Path
from typing import Any

import pytest

import client.recordings
from stt_service.bench.__main__ import main

SPEECH = Path(client.recordings.__file__).parent

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="Linux says what a thread costs"
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, dict[str, Any]]:
    """The table and the figures of a run."""
    assert main(arguments) == 0
    table, _, line = capsys.readouterr().out.strip().rpartition("\n")
    return table, json.loads(line)


@pytest.mark.slow
def test_live_streams_are_served_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "report.json", tmp_path / "report.png"
    options = ("--streams", "3", "--seconds", "4", "--step-ms", "1", "--json", str(file))
    options += ("--plot", str(picture))
    table, report = run(capsys, "service", *options)
    assert json.loads(file.read_text()) == report
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [row["protocol"] for row in report["figures"]] == ["grpc", "ws"]
    for row in report["figures"]:
        assert row["errors"] == 0
        # A word every 0.32 s from each of three.
        assert row["tokens"] >= 3 * 8
        assert 0 < row["main_ms"] < row["python_ms"] <= row["server_ms"]
        assert 0 < row["after_step_p50_ms"] <= row["after_step_p99_ms"]
        assert str(row["python_limit"]) in table


@pytest.mark.slow
def test_a_model_that_listens_is_spoken_to(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--protocols", "grpc", "--streams", "2", "--seconds", "6", "--speech", str(SPEECH))
    _, report = run(capsys, "service", "--model", "digits", *options)
    [row] = report["figures"]
    assert row["errors"] == 0
    assert row["tokens"] > 0
    assert row["backlog_p99_ms"] < 1000


@pytest.mark.slow
def test_a_start_is_taken_apart(capsys: pytest.CaptureFixture[str]) -> None:
    table, report = run(capsys, "start", "--slots", "1", "--runs", "1")
    assert report["ready_s"] > report["imports_s"]["torch"] > 0
    assert report["load_s"] > 0
    assert "import torch" in table


@pytest.mark.slow
def test_memory_is_divided_among_slots_and_sessions(capsys: pytest.CaptureFixture[str]) -> None:
    table, report = run(capsys, "memory", "--model", "scripted", "--slots", "4")
    assert report["at_rest_mib"] > report["session_mib"]
    assert report["gateway_mib"] > 0
    assert "a slot more" in table


@pytest.mark.parametrize(
    "arguments",
    [
        ["service", "--streams", "x"],
        ["service", "--protocols", "http"],
        ["service", "--seconds", "1"],
        ["service", "--speech", str(Path(__file__).parent)],
        ["start", "--runs", "0"],
        ["memory", "--slots", "1"],
    ],
)
def test_wrong_options_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("bench: ")


def test_a_server_that_cannot_start_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["service", "--model", "./nowhere", "--streams", "1"]) == 2
    assert "no such folder" in capsys.readouterr().err
