"""Ctrl-C and SIGTERM while a command starts: no traceback, and the documented exit code.

Sent when the command has imported a module, which it says with `-X importtime`, and so at the same
place on every machine.
"""

import re
import signal
import subprocess
import sys
import time

import pytest

SERVE = ("stt_service", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--device", "cpu")
GATEWAY = ("gateway", "--upstream", "127.0.0.1:1", "--http", "127.0.0.1:0")
LATENCY = ("client.latency_test", "--grpc", "127.0.0.1:1")


def interrupt(number: signal.Signals, command: tuple[str, ...], said: str) -> tuple[int, str]:
    """Run a command, send it a signal once it said something; its exit code and what it said."""
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if line.rpartition("|")[2].strip() == said:
                process.send_signal(number)
                break
        _, rest = process.communicate(timeout=60)
        text = "".join([*lines, rest])
        assert said in text
        return process.returncode, text
    finally:
        process.kill()
        process.wait()


def is_quiet(text: str) -> bool:
    """Whether nothing was said but imports, and lines of the log."""
    return not re.search(r"Traceback|Exception|Error\b|terminate called", text)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("command", "module"),
    [
        (SERVE, "argparse"),
        (SERVE, "grpc"),
        (SERVE, "torch.nn"),
        (SERVE, "moshi.models"),
        (GATEWAY, "argparse"),
        (GATEWAY, "uvicorn"),
    ],
)
def test_a_server_that_starts_ends_with_0(number, command, module: str) -> None:
    exit_code, text = interrupt(number, command, module)
    assert is_quiet(text), text[-2000:]
    assert exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [("--no-gateway",), ()])
def test_a_server_that_loads_its_model_ends_with_0(number, arguments: tuple[str, ...]) -> None:
    exit_code, text = interrupt(number, (*SERVE, *arguments), "loading digits …")
    assert is_quiet(text), text[-2000:]
    assert exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("tenths_s", range(0, 36, 3))
def test_no_moment_of_loading_and_warming_up_aborts(tenths_s: int) -> None:
    """The model thread is in torch then, which the interpreter's own end would abort (exit -6)."""
    process = subprocess.Popen(
        [sys.executable, "-m", *SERVE, "--no-gateway"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert "loading" in process.stderr.readline()
        time.sleep(tenths_s / 10)
        process.terminate()
        _, rest = process.communicate(timeout=60)
        assert is_quiet(rest), rest[-2000:]
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("number", "command", "module"),
    [
        (signal.SIGINT, LATENCY, "numpy"),
        (signal.SIGINT, ("client.demo",), "rich.console"),
        (signal.SIGTERM, ("client.demo",), "rich.console"),
    ],
)
def test_a_client_that_starts_ends_with_130(number, command, module: str) -> None:
    exit_code, text = interrupt(number, command, module)
    assert is_quiet(text), text[-2000:]
    assert exit_code == 130
