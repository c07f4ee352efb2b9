"""stt-serve when it cannot serve: usage errors, addresses in use, models that are not there."""

import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run stt-serve until it ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "stt_service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """What stt-serve said, which is one sentence; it loaded nothing before."""
    (line,) = result.stderr.splitlines()
    assert line.startswith("stt-serve: ")
    return line


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--device", "gpu"], {}, "--device"),
        (["--grpc", "[::1"], {}, "write HOST:PORT"),
        ([], {"BATCH_SIZE": "many"}, "BATCH_SIZE is 'many'"),
        ([], {"STT_KEY": "k-1"}, "STT_SECRET is not set"),
        (["--grpc", "0.0.0.0:0"], {}, "--grpc 0.0.0.0:0 lets other machines in"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, environment, message) -> None:
    result = serve(*arguments, **environment)
    assert result.returncode == 2
    assert message in only_line(result)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:7"])
def test_a_gpu_that_is_not_there_is_wrong_usage(device: str) -> None:
    result = serve("--device", device)
    assert result.returncode == 2
    assert "--device" in only_line(result)


@pytest.mark.parametrize("option", ["--grpc", "--http", "--metrics"])
def test_an_address_that_cannot_be_listened_on_is_named_before_anything_is_loaded(
    option: str,
) -> None:
    free = {"--grpc": "127.0.0.1:0", "--http": "127.0.0.1:0"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        options = {**free, option: address}
        result = serve(*(word for pair in options.items() for word in pair))
    assert result.returncode == 1
    line = only_line(result)
    assert f"{option}: cannot listen on {address}: another program listens there" in line


def test_a_model_that_is_not_there_is_one_sentence_and_exit_code_1(tmp_path) -> None:
    result = serve("--model", str(tmp_path), "--no-gateway", "--grpc", "127.0.0.1:0")
    assert result.returncode == 1
    assert "has no config.json" in only_line(result)


class EmptyHub(BaseHTTPRequestHandler):
    """A hub that has no repository but `kyutai/empty`."""

    def do_GET(self) -> None:
        known = self.path == "/api/models/kyutai/empty"
        self.answer(200 if known else 404, "RepoNotFound")
        if known:
            self.wfile.write(b'{"id": "kyutai/empty"}')

    def do_HEAD(self) -> None:
        self.answer(404, "EntryNotFound")

    def answer(self, status: int, missing: str) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", missing)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize(
    ("model", "hub", "reason"),
    [
        ("kyutai/stt-1b-en_fr", "offline", "cannot fetch it from Hugging Face"),
        ("kyutai/stt-1b-en_fr", "refuses", "cannot fetch it from Hugging Face"),
        ("kyutai/typo", "answers", "no such repository"),
        ("kyutai/empty", "answers", "no config.json"),
    ],
)
def test_a_repository_that_cannot_be_had_is_one_sentence_and_exit_code_1(
    tmp_path, model: str, hub: str, reason: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub) as server:
        if hub == "answers":
            threading.Thread(target=server.serve_forever, daemon=True).start()
            port = server.server_port
        else:
            server.socket.close()
            port = 1
        result = serve(
            *("--model", model, "--no-gateway", "--grpc", "127.0.0.1:0"),
            HF_HOME=str(tmp_path),
            HF_ENDPOINT=f"http://127.0.0.1:{port}",
            HF_HUB_OFFLINE="1" if hub == "offline" else "0",
            NO_PROXY="127.0.0.1",
        )
        server.shutdown() if hub == "answers" else None
    assert result.returncode == 1
    loading, said = result.stderr.splitlines()
    assert loading == f"loading {model} …"
    assert said.startswith(f"stt-serve: cannot serve {model}: ")
    assert reason in said


def test_help_is_answered_without_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "stt_service", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "MODEL_NAME" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "moshi", "grpc", "numpy"})
