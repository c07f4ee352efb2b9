"""The benchmark's arithmetic, its table, and one small run of the real model."""

import json
from typing import Any

import pytest

from stt_service.deploy.bench import (
    Measurement,
    Report,
    format_table,
    main,
    parse_batch_sizes,
    print_report,
)
from stt_service.process.environment import InvalidSetting


def make_measurement(batch_size: int, p99_ms: float, memory_gib: float | None) -> Measurement:
    return Measurement(
        batch_size=batch_size,
        load_s=3.0,
        warm_up_s=1.5,
        step_p50_ms=p99_ms / 2,
        step_p99_ms=p99_ms,
        frame_ms=80.0,
        memory_gib=memory_gib,
    )


REPORT = Report(
    model="kyutai/stt-1b-en_fr",
    device="NVIDIA L4",
    torch="2.9.1",
    measurements=(
        make_measurement(8, 30.0, 3.2),
        make_measurement(32, 79.9, 6.4),
        make_measurement(64, 80.0, 12.0),
    ),
    out_of_memory=(128,),
)


def test_live_streams_are_the_largest_batch_whose_steps_keep_up() -> None:
    assert REPORT.live_streams == 32
    assert Report("m", "d", "t", (), (1,)).live_streams == 0


def test_the_report_is_printed_as_a_table_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_report(REPORT.as_dict(), gpu="L4")
    *table, line = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {**json.loads(json.dumps(REPORT.as_dict())), "gpu": "L4"}
    assert "\n".join(table) == format_table(REPORT.as_dict())
    assert table[0] == "kyutai/stt-1b-en_fr on NVIDIA L4, torch 2.9.1"
    assert table[3].split() == ["32", "40.0", "79.9", "yes", "3.0", "1.5", "6.4"]
    assert table[4].split()[3] == "no"
    assert table[5].strip() == "128 does not fit in memory"
    assert table[6].startswith("live streams: 32")


def test_batch_sizes_are_read() -> None:
    assert parse_batch_sizes("1, 8,32") == (1, 8, 32)


@pytest.mark.parametrize("text", ["", "8,", "0", "-1", "eight", "1000000"])
def test_wrong_batch_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidSetting, match="as in 1,8,32"):
        parse_batch_sizes(text)


def test_the_embedded_model_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--device", "cpu", "--threads", "1", "--batch-sizes", "1,2", "--steps", "5"]
    assert main(["--model", "digits", *arguments]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["batch_size"] for row in report["measurements"]] == [1, 2]
    for row in report["measurements"]:
        assert 0 < row["step_p50_ms"] <= row["step_p99_ms"]
        assert row["frame_ms"] == 80.0
        assert row["load_s"] > 0
        assert row["warm_up_s"] > 0
        assert row["memory_gib"] is None


def test_wrong_options_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--batch-sizes", "x"]) == 2
    assert main(["--steps", "1"]) == 2
    assert "two steps are the fewest" in capsys.readouterr().err
