"""How stt-serve ends: signals with and without a grace period, and deaths of its parts."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import reason, request_audio, request_config, stream, texts
from tests.support import run_service


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


@pytest.mark.parametrize(
    ("fault", "why"),
    [("dies", "illegal memory access"), ("hangs", "no step has ended for 1 s while audio waited")],
)
async def test_when_the_model_fails_callers_are_told_and_the_process_exits_1(
    recordings, fault: str, why: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.server.faulty_server", fault),
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
        assert why not in told.value.details(), "callers are strangers"
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        health.cancel()
    async with asyncio.timeout(20):
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert why in stderr.decode()
