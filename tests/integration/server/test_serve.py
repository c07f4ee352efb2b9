"""stt-serve as a person runs it: one line when ready, signals, deaths, usage errors."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
import torch
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import (
    kinds,
    reason,
    request_audio,
    request_config,
    stream,
    texts,
)
from tests.support import run_service


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
        ([], {"MODAL_KEY": "wk\u20131", "MODAL_SECRET": "ws-1"}, "MODAL_KEY holds"),
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


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (
            ["--batch-size", "2"],
            {"BATCH_SIZE": "many", "MODEL_NAME": "'digits'\r\n", "MODAL_KEY": ""},
        ),
        pytest.param(
            ["--batch-size", "2", "--model", "digits"],
            {"BATCH_SIZE": "many", "MODEL_NAME": "\n"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            [], {"BATCH_SIZE": ' "2"\n', "MODEL_NAME": "'digits'\r\n"}, marks=pytest.mark.slow
        ),
    ],
)
def test_the_command_line_wins_and_variables_are_read_as_people_write_them(
    arguments, environment
) -> None:
    with run_service("--no-gateway", *arguments, env=environment) as service:
        assert service.fields["model"] == "digits"
        assert service.fields["slots"] == "2"


def answers(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as caller:
        return caller.connect_ex((host, port)) == 0


ANSWERED_AT = {"[::1]": (False, True), "[::]": (True, True), "localhost": (True, True)}
"""At 127.0.0.1 and at ::1, by what is listened on."""
ADDRESSES = ("grpc", "http", "metrics")


@pytest.mark.parametrize(
    "hosts",
    [
        ("[::1]", "[::]", "localhost"),
        pytest.param(("[::]", "localhost", "[::1]"), marks=pytest.mark.slow),
        pytest.param(("localhost", "[::1]", "[::]"), marks=pytest.mark.slow),
    ],
)
async def test_one_rule_for_all_three_addresses(hosts: tuple[str, str, str]) -> None:
    chosen = dict(zip(ADDRESSES, hosts, strict=True))
    options = [word for name, host in chosen.items() for word in (f"--{name}", f"{host}:0")]
    with run_service(*options) as service:
        for name, host in chosen.items():
            port = int(service.fields[name].rpartition(":")[2])
            assert (answers("127.0.0.1", port), answers("::1", port)) == ANSWERED_AT[host], name
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            assert kinds(await stream(channel, [request_config()])) == ["ready", "final"]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://{service.http}/readyz")).status_code == 200
            metrics = await client.get(f"http://{service.fields['metrics']}/metrics")
            assert "stt_slots_total 8.0" in metrics.text


def own_address() -> str:
    """An address of this machine that other machines could use, or a spelling of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return "127.1"
        return probe.getsockname()[0]


async def test_the_gateway_reaches_its_own_server_past_every_proxy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy", "all_proxy", "ALL_PROXY")
        proxies = dict.fromkeys(names, address)
        with run_service("--grpc", f"{own_address()}:0", env=proxies) as service:
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"http://{service.http}/readyz")).status_code == 200
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_it_serves_where_nobody_reads_what_it_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "stt_service", "--no-gateway", "--grpc", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(), wait_for_ready=True
            )
            for health in check:
                if health.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            check.cancel()
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


async def read_rest(call, into: list | None = None) -> list:
    """Read to the end of the call; with `into`, what came before an error is kept there."""
    responses = [] if into is None else into
    while (response := await call.read()) is not grpc.aio.EOF:
        responses.append(response)
    return responses


async def test_sigterm_lets_the_open_session_finish(recordings) -> None:
    with run_service("--no-gateway", "--drain-grace", "20") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            call = stub.StreamingTranscribe()
            await call.write(request_config())
            responses = [await call.read()]
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async with asyncio.timeout(10):
                    while True:
                        await stub.Transcribe(stt_pb2.TranscribeRequest())
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            await call.write(request_audio(recordings[0].pcm_f32le()))
            await call.done_writing()
            responses += await read_rest(call)
            assert texts(responses).strip() == recordings[0].text
            assert responses[-1].HasField("final")
        assert service.process.wait(20) == 0


async def test_sigterm_without_grace_ends_a_session_with_its_final(recordings) -> None:
    with run_service("--no-gateway", "--drain-grace", "0") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
            await call.write(request_config())
            await call.write(request_audio(recordings[0].pcm_f32le()))
            responses = [await call.read(), await call.read()]
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await read_rest(call, into=responses)
            assert responses[-1].final.transcript.strip() == recordings[0].text
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert service.process.wait(20) == 0


def test_a_killed_server_leaves_no_gateway() -> None:
    with run_service() as service:
        host, port = service.http.split(":")
        service.process.kill()
        service.process.wait()
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) != 0:
                    return
            subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("the gateway still listens ten seconds after its server was killed")


async def test_when_the_model_dies_callers_are_told_and_the_process_exits_1(recordings) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.server.dying_server"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    ready = (await process.stdout.readline()).decode()
    address = dict(re.findall(r"(\w+)=(\S+)", ready))["grpc"]
    async with grpc.aio.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == health_pb2.HealthCheckResponse.SERVING
        audio = request_audio(recordings[0].pcm_f32le())
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stream(channel, [request_config(), audio])
        assert told.value.code() is grpc.StatusCode.INTERNAL
        assert reason(told.value) == "ENGINE_DIED"
        assert "illegal memory access" not in told.value.details()
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert b"illegal memory access" in stderr


async def test_tls_and_client_certificates(tmp_path) -> None:
    authority = trustme.CA()
    identities = {"server": authority.issue_cert("localhost"), "client": authority.issue_cert("me")}
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, identity in identities.items():
        identity.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        identity.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tls = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))
    with run_service("--no-gateway", *tls, "--tls-client-ca", str(tmp_path / "ca.pem")) as service:
        target = f"localhost:{service.grpc.rpartition(':')[2]}"
        known = grpc.ssl_channel_credentials(
            files["ca.pem"], files["client.key"], files["client.pem"]
        )
        async with grpc.aio.secure_channel(target, known) as channel:
            assert kinds(await stream(channel, [request_config()])) == ["ready", "final"]
        stranger = grpc.ssl_channel_credentials(files["ca.pem"])
        async with grpc.aio.secure_channel(target, stranger) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await stream(channel, [request_config()])


def test_with_json_logs_every_line_on_standard_error_is_an_object(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("w") as log, run_service("--log-format", "json", log=log) as service:
        assert service.grpc and service.http
    events = [json.loads(line)["event"] for line in path.read_text().splitlines()]
    assert "loading digits …" in events
    assert any(event.startswith("serving digits, loaded in") for event in events)
    assert "gateway started" in events
