import os
import socket
import subprocess
import sys

import pytest


def run_gateway(
    *options: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *options]
    variables = {**os.environ, **(environment or {})}
    return subprocess.run(command, capture_output=True, text=True, timeout=30, env=variables)


def test_help_imports_nothing_heavy():
    program = (
        "import sys, gateway.__main__, gateway.command\n"
        "try: gateway.command.main(['--help'])\n"
        "except SystemExit as error: status = error.code\n"
        "print('heavy:', sorted({'grpc', 'uvicorn', 'starlette', 'torch'} & set(sys.modules)))\n"
        "sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--upstream" in done.stdout
    assert "heavy: []" in done.stdout


UPSTREAM = ("--upstream", "127.0.0.1:1")
TLS_UPSTREAM = ("--upstream", "https://127.0.0.1:1")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ([], "--upstream"),
        (["--upstream", "ftp://x"], "scheme"),
        ([*UPSTREAM, "--http", "8000"], "HOST:PORT"),
        ([*UPSTREAM, "--http", "127.0.0.1:99999"], "65535"),
        ([*UPSTREAM, "--http", "::1:80"], "[::1]:8000"),
        ([*UPSTREAM, "--patience", "-1"], "--patience"),
        ([*UPSTREAM, "--patience", "nan"], "--patience"),
        ([*UPSTREAM, "--grace", "inf"], "--grace"),
        ([*UPSTREAM, "--grace", "1_0"], "--grace"),
        ([*UPSTREAM, "--max-message-mib", "0"], "--max-message-mib"),
        ([*UPSTREAM, "--max-message-mib", "1e400"], "--max-message-mib"),
        ([*UPSTREAM, "--allow-origin", "x"], "https://example.com"),
        ([*UPSTREAM, "--allow-origin", "*"], "https://example.com"),
        ([*UPSTREAM, "--upstream-ca", "/none"], "write https:// before it"),
        ([*TLS_UPSTREAM, "--upstream-ca", "/none"], "/none cannot be read"),
        ([*TLS_UPSTREAM, "--upstream-cert", "/none"], "/none cannot be read"),
        ([*TLS_UPSTREAM, "--upstream-cert", "/dev/null"], "both its private key and its chain"),
        ([*UPSTREAM, "--tls-cert", "/none"], "go together"),
        ([*UPSTREAM, "--tls-cert", "/none", "--tls-key", "/none"], "/none cannot be read"),
        ([*UPSTREAM, "--tls-cert", "/dev/null", "--tls-key", "/dev/null"], "PEM format"),
        ([*UPSTREAM, "--keys", "/none"], "--keys: /none cannot be read"),
        ([*UPSTREAM, "--keys", "/dev/null"], "--keys: /dev/null: there is no key in it"),
        ([*UPSTREAM, "--http", "0.0.0.0:0"], "--http 0.0.0.0:0 lets other machines in"),
        ([*UPSTREAM, "--allow-host", "a:80"], "--allow-host: 'a:80' is no host name"),
        ([*UPSTREAM, "--trusted-proxy", "*"], "--trusted-proxy: '*' is no address"),
        ([*UPSTREAM, "--max-connections", "0"], "--max-connections"),
        ([*UPSTREAM, "--max-waiting", "1.5"], "--max-waiting"),
        ([*UPSTREAM, "--max-buffered-mib", "0"], "--max-buffered-mib"),
        ([*UPSTREAM, "--pati", "3"], "--pati"),
        ([*UPSTREAM, "--log-format", "\udcff"], "--log-format"),
        (["--upstream", "\udcff"], "--upstream"),
    ],
)
def test_wrong_options_end_with_2_and_a_sentence(options: list[str], complaint: str):
    done = run_gateway(*options)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("stt-gateway: ")
    assert complaint in line


@pytest.mark.parametrize("value", ["wk\u20131", "wk 1", "wk\n1", "\udcff"])
@pytest.mark.parametrize("name", ["MODAL_KEY", "MODAL_SECRET"])
def test_an_invalid_token_ends_with_2_and_its_name(name: str, value: str):
    keys = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1", name: value}
    done = run_gateway("--upstream", "https://stt.invalid", environment=keys)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{name} holds" in line


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.200:0", "this machine has no such address"),
        ("nobody.invalid:80", "cannot be looked up"),
        ("a..b:80", "no host name"),
    ],
)
def test_an_unusable_address_ends_with_1(address: str, reason: str):
    done = run_gateway(*UPSTREAM, "--http", address, "--insecure")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"stt-gateway: --http: cannot listen on {address}: ")
    assert reason in line


def test_a_taken_address_ends_with_1():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_gateway(*UPSTREAM, "--http", address)
    assert done.returncode == 1
    assert f"cannot listen on {address}: another program listens there" in done.stderr
