"""The end of stt-serve and of its gateway: everyone hears it, and nothing else ends with it."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time

import grpc
import httpx
import pytest
import websockets
from google.protobuf.duration_pb2 import Duration

from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.integration.server.calls import become_free, reason, request_audio, request_config
from tests.support import Service, run_service

LONG_S = 80
PATIENT = request_config(idle_timeout=Duration(seconds=600))


def find_gateway(service: Service) -> int:
    found = subprocess.run(
        ["pgrep", "-P", str(service.process.pid), "-f", "gateway"], capture_output=True, text=True
    )
    return int(found.stdout)


async def wait_for_another_gateway(service: Service, ended: int) -> int:
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as client:
        while True:
            with contextlib.suppress(httpx.HTTPError, ValueError):
                answer = await client.get(f"http://{service.http}/readyz")
                if answer.status_code == 200 and (found := find_gateway(service)) != ended:
                    return found
            await asyncio.sleep(0.05)


async def read_to_the_end(call, responses: list) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        while True:
            responses.append(await call.read())
            assert responses[-1] is not grpc.aio.EOF
    return ended.value


async def test_a_gateway_that_dies_is_started_again_and_grpc_goes_on(recordings) -> None:
    with run_service() as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
            await call.write(PATIENT)
            assert (await call.read()).HasField("ready")
            gateway = find_gateway(service)
            for _ in range(2):
                os.kill(gateway, signal.SIGKILL)
                gateway = await wait_for_another_gateway(service, gateway)
            await call.write(request_audio(recordings[0].pcm_f32le()))
            await call.done_writing()
            while not (response := await call.read()).HasField("final"):
                pass
            assert response.final.transcript.strip() == recordings[0].text
            async with websockets.connect(f"{service.websocket_url}?events=ready") as socket:
                assert json.loads(await socket.recv())["type"] == "ready"
        service.process.terminate()
        assert await asyncio.to_thread(service.process.wait, 20) == 0


async def test_one_message_of_many_seconds_is_cut_by_the_end_and_gets_its_final() -> None:
    """More than can be heard in the 10 s that last words get, in one message."""
    with run_service("--no-gateway", "--drain-grace", "0") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            calls = [stub.StreamingTranscribe() for _ in range(8)]
            for call in calls:
                await call.write(PATIENT)
                assert (await call.read()).HasField("ready")
                await call.write(request_audio(bytes(LONG_S * 24_000 * 4)))
            # Every session has its slot; its message has been written to the socket before.
            await become_free(channel, 0)
            service.process.send_signal(signal.SIGTERM)
            for call in calls:
                responses: list = []
                assert reason(await read_to_the_end(call, responses)) == "DRAINING"
                heard_s = responses[-1].final.audio_duration.ToMilliseconds() / 1000
                assert responses[-1].HasField("final")
                assert heard_s < LONG_S
        assert await asyncio.to_thread(service.process.wait, 20) == 0


async def test_a_recording_that_the_end_cuts_short_is_no_answer() -> None:
    with run_service("--no-gateway", "--drain-grace", "0", "--batch-size", "1") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            call = stub.Transcribe(stt_pb2.TranscribeRequest(audio=bytes(LONG_S * 24_000 * 4)))
            await become_free(channel, 0)
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as cut:
                await call
            assert reason(cut.value) == "DRAINING"
        assert await asyncio.to_thread(service.process.wait, 20) == 0


async def test_a_second_signal_ends_at_once_and_tells_everyone() -> None:
    with run_service("--drain-grace", "60") as service:
        async with (
            grpc.aio.insecure_channel(service.grpc) as channel,
            websockets.connect(f"{service.websocket_url}?events=ready") as socket,
        ):
            call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
            await call.write(PATIENT)
            assert (await call.read()).HasField("ready")
            assert json.loads(await socket.recv())["type"] == "ready"
            service.process.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async with asyncio.timeout(10):
                    while True:
                        await stt_pb2_grpc.SpeechToTextServiceStub(channel).Transcribe(
                            stt_pb2.TranscribeRequest()
                        )
            assert reason(refused.value) == "DRAINING"
            started = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            assert reason(await read_to_the_end(call, [])) == "DRAINING"
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                async with asyncio.timeout(15):
                    while True:
                        await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert await asyncio.to_thread(service.process.wait, 20) == 0
        assert time.monotonic() - started < 8


async def test_the_end_under_load_gives_every_session_its_final(recordings) -> None:
    with run_service("--no-gateway", "--drain-grace", "0") as service:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            calls = [stub.StreamingTranscribe() for _ in recordings[:8]]
            for call, recording in zip(calls, recordings, strict=False):
                await call.write(PATIENT)
                assert (await call.read()).HasField("ready")
                await call.write(request_audio(recording.pcm_f32le()))
            # Every one has been heard at least in part.
            heard = [[await call.read()] for call in calls]
            service.process.send_signal(signal.SIGTERM)
            for call, responses in zip(calls, heard, strict=True):
                assert reason(await read_to_the_end(call, responses)) == "DRAINING"
                assert responses[-1].HasField("final")
        assert await asyncio.to_thread(service.process.wait, 20) == 0
