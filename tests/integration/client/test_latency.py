"""stt-latency against the real server: its JSON, its sweep, its picture, its comparison of GPUs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from client.command.exit_codes import OUTPUT_CLOSED, UNAVAILABLE, USAGE
from client.command.target import COMMAND_PATIENCE
from client.latency import gpu_comparison
from client.latency.report import SCHEMA_PATH
from client.latency.run import WARM_UP_PATIENCE
from client.scoring import count_word_errors
from stt_service.deploy.gpus import GPUS
from tests.integration.deploy.command import IMAGE_BUILDER_VERSION
from tests.integration.deploy.control_plane import TOKEN, ControlPlane, serve
from tests.support import Recording, Service, run_service

SCRIPT = Path(__file__).resolve().parents[3] / "client" / "latency_test.py"
STATS = ("connect_s", "first_token_s", "token_lag_s", "flush_s", "final_s", "backlog_s")


def measure(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as the documented script."""
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=110
    )


def read_report(path: Path) -> dict[str, Any]:
    report = json.loads(path.read_text("utf-8"))
    jsonschema.validate(report, json.loads(SCHEMA_PATH.read_text("utf-8")))
    return report


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
def test_four_streams_are_measured(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path, protocol: str
) -> None:
    address = ["--grpc", service.grpc] if protocol == "grpc" else ["--url", service.websocket_url]
    plot = tmp_path / "lags.png"
    to = ["--json", tmp_path / "r.json", "--plot", plot]
    done = measure("-p", 4, "--wav", recordings[1].path, *address, *to)
    assert done.returncode == 0, done.stderr
    report = read_report(tmp_path / "r.json")

    assert report["protocol"] == protocol
    [load] = report["loads"]
    assert load["streams"] == 4
    assert load["errors"] == []
    said = recordings[1].text.split()
    for transcript in load["transcripts"]:
        # A flush between connected digits may cost a word; here it is the times that count.
        assert count_word_errors(said, transcript.split()) <= 2
    # One of each for a stream, a lag for every word; the model alone takes half a second.
    counts = {name: load[name]["count"] for name in STATS}
    assert counts["connect_s"] == counts["first_token_s"] == counts["final_s"] == 4
    assert counts["flush_s"] == 4
    assert counts["token_lag_s"] == sum(len(text.split()) for text in load["transcripts"])
    assert load["token_lag_s"]["p50"] > 0.4
    for name in STATS:
        assert load[name]["p50"] <= load[name]["p90"] <= load[name]["p99"] <= load[name]["max"]
    assert "4 streams at once" in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_sweep_stops_at_the_number_that_is_too_many(
    recordings: tuple[Recording, ...], tmp_path: Path
) -> None:
    """A server of two slots holds two streams in real time and refuses the third."""
    with run_service("--batch-size", "2", "--no-gateway") as service:
        options = ["--wav", recordings[1].path, "--json", tmp_path / "r.json"]
        done = measure("--sweep", "1,2,3,4", "--grpc", service.grpc, *options)
    assert done.returncode == 0, done.stderr
    report = read_report(tmp_path / "r.json")

    assert [load["streams"] for load in report["loads"]] == [1, 2, 3]
    assert report["most_streams_in_real_time"] == 2
    assert [error["type"] for error in report["loads"][2]["errors"]] == ["ServerFull"]
    assert "Most streams in real time: 2" in done.stdout


def test_faster_than_real_time_twice_with_the_demo_recordings(
    service: Service, recordings: tuple[Recording, ...], tmp_path: Path
) -> None:
    report_path = tmp_path / "r.json"
    options = ["--rtf", "4", "-n", "2", "--json", report_path]
    done = measure("--grpc", service.grpc, *options)
    assert done.returncode == 0, done.stderr
    report = read_report(report_path)

    assert report["rtf"] == 4.0
    first, second = report["loads"][0]["transcripts"]
    texts = [recording.text.split() for recording in recordings]
    assert count_word_errors(texts[0] + texts[1], first.split()) <= 3
    assert count_word_errors(texts[1] + texts[2], second.split()) <= 3


def bind_modal(server_url: str, home: Path) -> dict[str, str]:
    """The environment in which Modal's programs ask this control plane."""
    return {
        "HOME": str(home),
        "MODAL_SERVER_URL": server_url,
        "MODAL_TOKEN_ID": TOKEN[0],
        "MODAL_TOKEN_SECRET": TOKEN[1],
        "MODAL_CONFIG_PATH": str(home / "modal.toml"),
        "MODAL_KEY": "wk-test",
        "MODAL_SECRET": "ws-test",
        "MODAL_IMAGE_BUILDER_VERSION": IMAGE_BUILDER_VERSION,
    }


async def test_gpus_are_deployed_measured_priced_and_cleaned_up(
    service: Service, beginnings: tuple[Recording, ...], tmp_path: Path
) -> None:
    """The real `modal deploy`, to a control plane on loopback, once for each GPU; a local server is
    in the place of both."""
    control_plane = ControlPlane()
    urls = [f"--gpu-url={gpu}={service.websocket_url}" for gpu in ("T4", "L4")]
    async with serve(control_plane) as server_url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT), "--compare-gpus", "T4,L4", "-p", "2", *urls),
            *("--wav", str(beginnings[1].path), "--json", str(tmp_path / "r.json")),
            env={**os.environ, **bind_modal(server_url, tmp_path), "COLUMNS": "120"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(110):
            output, errors = (text.decode() for text in await process.communicate())

    assert process.returncode == 0, output + errors
    registered = control_plane.registered
    assert sorted(registered.app_names.values()) == ["kyutai-stt-l4", "kyutai-stt-t4"]
    gpus = {
        data.ranked_functions[0].function.resources.gpu_config.gpu_type
        for data in registered.functions.values()
    }
    assert {"T4", "L4"} <= gpus
    for gpu in ("t4", "l4"):
        assert f"  uvx modal app stop kyutai-stt-{gpu}\n" in output

    report = read_report(tmp_path / "r.json")
    assert [result["gpu"] for result in report["gpus"]] == ["T4", "L4"]
    for result in report["gpus"]:
        assert result["error"] is None
        assert result["load"]["streams"] == 2
        assert result["load"]["errors"] == []
        price = GPUS[result["gpu"]].price_per_hour_usd
        assert result["price_per_hour_usd"] == price
        assert result["price_per_stream_hour_usd"] == pytest.approx(price / 2)
        assert f"{price / 2:.3f}" in output


async def test_the_address_of_a_deployed_gpu_is_asked_of_modal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(ControlPlane()) as server_url:
        for name, value in bind_modal(server_url, tmp_path).items():
            monkeypatch.setenv(name, value)
        [app] = await gpu_comparison.list_apps(["A10G"])
        assert (app.name, app.price_per_hour_usd) == ("kyutai-stt-a10g", 1.10)
        with pytest.raises(gpu_comparison.DeployError, match="no deployed app 'kyutai-stt-a10g'"):
            await gpu_comparison.find_websocket_url(app)
        await gpu_comparison.deploy(app)
        host = "acme--kyutai-stt-a10g-kyutaisttrustservice-serve.modal.run"
        assert await gpu_comparison.find_websocket_url(app) == f"wss://{host}/v1/stream"


def test_a_gpu_that_cannot_be_deployed_is_a_row_of_its_own(tmp_path: Path) -> None:
    """No account: Modal's own sentence, the stop lines all the same, and a failing exit code."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("MODAL_")},
        "HOME": str(tmp_path),
        "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml"),
        "COLUMNS": "60",
    }
    done = subprocess.run(
        [sys.executable, SCRIPT, "--compare-gpus", "T4"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
    )

    assert done.returncode == 1
    # Whole, and not folded into a column of the table.
    [sentence] = [line for line in done.stdout.splitlines() if line.startswith("T4: deploying k")][
        1:
    ]
    assert "T4: deploying kyutai-stt-t4 failed: " in sentence
    assert "https://modal.com/settings/proxy-auth-tokens" in sentence
    assert "uvx modal app stop kyutai-stt-t4" in done.stdout


def test_a_host_that_does_not_exist_is_told_as_soon_as_by_the_other_commands() -> None:
    assert WARM_UP_PATIENCE.unreachable_s == COMMAND_PATIENCE.unreachable_s < 5
    done = measure("--url", "ws://no-such-host.invalid")

    assert done.returncode == UNAVAILABLE
    *waiting, reason = done.stderr.splitlines()
    assert reason.startswith("stt-latency: There is no host 'no-such-host.invalid'")
    assert waiting == [reason.replace(": ", ": waiting: ", 1)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--json", "nowhere/r.json"], "nowhere/r.json cannot be written (No such file"),
        (["--json", "."], ". cannot be written (it is a folder)"),
        (["--plot", "nowhere/lags.png"], "nowhere/lags.png cannot be written (No such file"),
        (["--plot", "lags.xyz"], "--plot lags.xyz: no picture can be written as .xyz"),
    ],
)
def test_a_place_for_figures_is_checked_before_they_are_measured(
    options: list[str], says: str
) -> None:
    # At an address where nothing answers: no measurement has begun.
    done = measure(*options, "--grpc", "127.0.0.1:1")

    assert done.returncode == USAGE
    assert done.stderr.startswith(f"stt-latency: {says}")
    assert done.stdout == ""


def test_a_full_service_has_its_exit_code(
    service: Service, recordings: tuple[Recording, ...]
) -> None:
    wav = recordings[1].path
    done = measure("-p", "9", "--rtf", "4", "--wav", wav, "--grpc", service.grpc)

    assert "9 streams: all 8 slots are taken" in done.stdout
    assert done.returncode == UNAVAILABLE


@pytest.mark.parametrize("options", [["--help"], ["--rtf", "20"]])
def test_a_reader_who_leaves_early_is_no_failure_of_ours(
    service: Service, options: list[str]
) -> None:
    address = [] if "--help" in options else ["--grpc", service.grpc]
    done = without_a_reader([str(SCRIPT), *options, *address])
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, "")


def test_help_without_a_reader_is_no_failure_of_ours() -> None:
    done = without_a_reader([str(SCRIPT.with_name("transcribe_cli.py")), "--help"])
    assert (done.returncode, done.stderr) == (OUTPUT_CLOSED, "")


def without_a_reader(program: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a program whose standard output nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    # Help is swallowed by argparse where each line is written at once.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open(writing, "wb") as output:
        return subprocess.run(
            [sys.executable, *program],
            env=environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )


def test_wrong_usage_is_told() -> None:
    for arguments in (["--sweep", "1,x"], ["-p", "0"], ["--rtf", "0"], ["--no-deploy"]):
        done = measure(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
