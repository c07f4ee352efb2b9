import socket
import subprocess
import sys

import pytest


def run_gateway(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_help_waits_for_no_heavy_import():
    program = (
        "import sys, gateway.__main__\n"
        "try: gateway.__main__.main(['--help'])\n"
        "except SystemExit as error: status = error.code\n"
        "print('heavy:', sorted({'grpc', 'uvicorn', 'starlette', 'torch'} & set(sys.modules)))\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--upstream" in done.stdout
    assert "heavy: []" in done.stdout


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--upstream", "ftp://x"], "scheme"),
        (["--upstream", "127.0.0.1:1", "--http", "8000"], "HOST:PORT"),
        (["--upstream", "127.0.0.1:1", "--patience", "-1"], "patience_s"),
        (["--upstream", "127.0.0.1:1", "--allow-origin", "x"], "https://example.com"),
        ([], "--upstream"),
    ],
)
def test_wrong_options_end_with_2_and_a_sentence(options: list[str], complaint: str):
    done = run_gateway(*options)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_taken_address_ends_with_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_gateway("--upstream", "127.0.0.1:1", "--http", address)
    assert done.returncode == 1
    assert f"cannot listen on {address}" in done.stderr
