"""stt-demo as a newcomer types it."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from client.demo.local_server import LocalServer
from client.demo.run import compare_protocols
from client.demo.view import make_view
from tests.support import Recording, Service, load_all_recordings

COMMAND = [sys.executable, "-m", "client.demo.__main__"]


def children_of(process: subprocess.Popen[str]) -> set[int]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return {int(pid) for pid in listed.split()}


def test_human_digits_are_transcribed_live_over_both_protocols(
    recordings: tuple[Recording, ...],
) -> None:
    process = subprocess.run(COMMAND, capture_output=True, text=True, timeout=110)

    assert process.returncode == 0, process.stderr
    shown = process.stdout
    for recording in recordings[:3]:
        assert f"expected   {recording.text}" in shown
        for protocol in ("gRPC     ", "WebSocket"):
            assert f"{protocol}  {recording.text}  (word error rate 0.0%)" in shown
    assert "3 of 3 transcripts are the same over both protocols." in shown
    # Tokens have the time at which they came and how far they were behind.
    lines = re.findall(r"([\d.]+) s  (gRPC|WebSocket) +(\w+) +([\d.]+) s behind", shown)
    words = sum(len(recording.text.split()) for recording in recordings[:3])
    assert len(lines) == 2 * words
    assert all(0.3 < float(behind) < 5.0 for *_, behind in lines)


async def test_a_voice_that_is_nobodys_is_understood_and_said_to_be_synthetic(
    service: Service,
) -> None:
    (synthetic,) = (recording for recording in load_all_recordings() if recording.synthetic)
    shown = io.StringIO()
    view = make_view(Console(file=shown), plain=True)
    server = LocalServer(service.grpc, service.websocket_url, "digits", slots=8)

    assert await compare_protocols(server, [synthetic], view) == 0
    assert "spoken by a synthetic voice" in shown.getvalue()
    for protocol in ("gRPC     ", "WebSocket"):
        assert f"{protocol}  {synthetic.text}  (word error rate 0.0%)" in shown.getvalue()


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "Starting"),
        (signal.SIGTERM, "Starting"),
        pytest.param(signal.SIGTERM, "Ready", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_demo_leaves_no_server(number: signal.Signals, moment: str) -> None:
    process = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(moment):
                break
        while not (servers := children_of(process)):
            time.sleep(0.05)
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 130
    assert errors.splitlines()[-1] == "stt-demo: interrupted; the server was stopped."
    assert not any(Path(f"/proc/{pid}").exists() for pid in servers)


@pytest.mark.slow
def test_many_sessions_print_their_delivery_times() -> None:
    process = subprocess.run(
        [*COMMAND, "--sessions", "2"], capture_output=True, text=True, timeout=110
    )

    assert process.returncode == 0, process.stderr
    delivery = re.search(r"p50 ([\d.]+) ms, p99 ([\d.]+) ms \((\d+) events\)", process.stdout)
    assert delivery, process.stdout
    assert 0.0 < float(delivery[1]) <= float(delivery[2])
    assert int(delivery[3]) >= 2 * 3 * 10
    assert "6 of 6 transcripts have no word error." in process.stdout


def test_wrong_usage_is_told() -> None:
    process = subprocess.run([*COMMAND, "--sessions", "0"], capture_output=True, text=True)

    assert process.returncode == 2
    assert "'0' is not a whole number from 1" in process.stderr
