"""stt-serve as a person runs it: one line when ready, signals, deaths, usage errors."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import kinds, request_audio, request_config, stream, texts
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


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--batch-size", "0"], {}, "must be from 1 to"),
        ([], {"BATCH_SIZE": "many"}, "must be a whole number"),
        (["--grpc", "nonsense"], {}, "write HOST:PORT"),
        (["--tls-cert", "x.pem"], {}, "go together"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(arguments, environment, message) -> None:
    result = serve(*arguments, **environment)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_is_answered_without_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "stt_service", "--help"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0
    assert "MODEL_NAME" in result.stdout
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "moshi", "grpc", "numpy"})


def test_a_model_that_is_not_there_is_one_sentence_and_exit_code_1(tmp_path) -> None:
    result = serve("--model", str(tmp_path), "--no-gateway", "--grpc", "127.0.0.1:0")
    assert result.returncode == 1
    assert "has no config.json" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_address_that_is_taken_is_one_sentence_and_exit_code_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = serve("--grpc", address, "--no-gateway")
    assert result.returncode == 1
    assert f"cannot listen on {address}" in result.stderr
    assert "Traceback" not in result.stderr


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


def test_when_the_gateway_dies_the_server_stops_with_exit_code_1() -> None:
    with run_service() as service:
        children = subprocess.run(
            ["pgrep", "-P", str(service.process.pid), "-f", "gateway"],
            capture_output=True,
            text=True,
        )
        (gateway,) = re.findall(r"\d+", children.stdout)
        subprocess.run(["kill", "-KILL", gateway], check=True)
        assert service.process.wait(30) == 1


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
        assert "illegal memory access" in told.value.details()
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
