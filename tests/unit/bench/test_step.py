"""The benchmark of a step: its table, and one small run of the real models."""

import json
from pathlib import Path
from typing import Any

import pytest

from stt_service.bench.__main__ import main
from stt_service.bench.step import StepFigures, StepReport, format_table

FIGURES = StepFigures(
    slots=8,
    streams=8,
    ours_ms=4.0,
    stock_ms=10.0,
    ratio=0.4,
    aten_calls=900,
    read_mib=6.1,
    floor_ms=0.3,
    slot_mib=0.34,
)


def test_the_table_says_what_was_measured() -> None:
    header, columns, row = format_table(
        StepReport("digits", "int8", "bfloat16", 2, 20.0, (FIGURES,))
    ).splitlines()
    assert header == "digits, int8 weights, 2 threads, memory read at 20.0 GB/s"
    assert columns.split("  ")[-1].strip() == "MiB a slot"
    assert row.split() == ["8", "8", "4.0", "10.0", "0.40", "900", "6.1", "0.3", "0.34"]


def test_ours_and_stock_are_measured_and_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    files = "--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png")
    assert main(["step", "--batch-sizes", "1,3", "--steps", "2", *files]) == 0
    report: dict[str, Any] = json.loads((tmp_path / "r.json").read_text())
    assert report == json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [(row["slots"], row["streams"]) for row in report["figures"]] == [(1, 1), (3, 3), (3, 1)]
    first, together, alone = report["figures"]
    assert first["ours_ms"] > 0
    assert first["stock_ms"] > 0
    assert alone["stock_ms"] is None
    # Nobody pays for a slot that nobody uses.
    assert alone["aten_calls"] == first["aten_calls"]
    assert alone["read_mib"] == first["read_mib"] < together["read_mib"]
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments", [["--batch-sizes", "x"], ["--steps", "0"], ["--threads", "-1"]]
)
def test_wrong_options_are_usage_errors(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["step", *arguments]) == 2
    assert capsys.readouterr().err.startswith("bench: ")
