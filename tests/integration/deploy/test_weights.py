"""Weights that a start finds missing are fetched by a process that may write, from a real cache."""

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stt_service.config import DIGITS_CHECKPOINT
from tests.integration.deploy.hub_cache import store_model

REPOSITORY = "acme/digits"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
TIMEOUT_S = 110

# What the pool does at its start, on a disk that it cannot write and without asking the hub.
START = f"""
import asyncio, os, subprocess, sys
from stt_service.deploy import weights

FETCH = "from stt_service.deploy import weights; weights.fetch({REPOSITORY!r})"

async def fetch_elsewhere():
    print("fetching", flush=True)
    online = {{name: os.environ[name] for name in os.environ if name != "HF_HUB_OFFLINE"}}
    subprocess.run([sys.executable, "-c", FETCH], env=online, check=True)

async def reload():
    print("reloading", flush=True)

for _ in range(2):
    asyncio.run(weights.ensure_stored({REPOSITORY!r}, fetch_elsewhere, reload))
    print("stored" if weights.are_stored({REPOSITORY!r}) else "missing")

from stt_service.engine.step.moshi_model import MoshiModel
print(MoshiModel({REPOSITORY!r}, slots=1, device="cpu", threads=1).info.delay_s)
"""


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download asks for: one repository, the digits model."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.wfile.write(self.answer())

    def answer(self) -> bytes:
        prefix = f"/{REPOSITORY}/resolve/main/"
        path = DIGITS_CHECKPOINT / self.path.removeprefix(prefix)
        if not self.path.startswith(prefix) or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def hub_url() -> Iterator[str]:
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=hub.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{hub.server_port}"
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


def test_missing_weights_are_fetched_once_and_then_found(hub_url: str, tmp_path: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
        "HF_ENDPOINT": hub_url,
        "HF_HUB_CACHE": str(tmp_path / "weights"),
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "127.0.0.1",
    }
    with contextlib.chdir(tmp_path):
        started = subprocess.run(
            [sys.executable, "-c", START],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert started.returncode == 0, started.stderr
    assert started.stdout.split() == ["fetching", "reloading", "stored", "stored", "0.5"]
    assert "acme/digits is not on the disk yet" in started.stderr
    assert "Moshi 7B" not in started.stderr


def test_the_documented_model_is_stored_when_the_checkpoint_is_that_it_is_served_from(
    tmp_path: Path,
) -> None:
    name, served = "kyutai/stt-1b-en_fr", "kyutai/stt-1b-en_fr-candle"
    store_model(tmp_path, name, heads=False)
    ask = (
        "from stt_service.deploy import weights\n"
        f"while True: print(weights.are_stored({name!r}), flush=True); input()"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    asking = subprocess.Popen(
        [sys.executable, "-c", ask],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with asking:
        assert asking.stdin is not None and asking.stdout is not None
        try:
            before = asking.stdout.readline()
            store_model(tmp_path, served, heads=True)
            asking.stdin.write("again\n")
            asking.stdin.flush()
            after = asking.stdout.readline()
        finally:
            asking.kill()
    assert (before, after) == ("False\n", "True\n")
