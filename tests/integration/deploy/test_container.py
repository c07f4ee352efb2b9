"""The pool's class, run the way Modal runs it, with the embedded model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from client.rpc.channel import SERVICE_NAME
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.config import DIGITS_CHECKPOINT, EngineConfig, ServerConfig
from stt_service.deploy.pool import DRAIN_GRACE_S, PoolMember
from stt_service.engine.model import StepOutput, StepPlan
from stt_service.engine.step.moshi_model import MoshiModel
from stt_service.server import Server
from tests.support import Recording

START_TIMEOUT_S = 90
# https://modal.com/docs/guide/servers, "Container lifecycle": after SIGTERM, processes and exit
# handlers "are given an additional 30s to complete", then comes SIGKILL. The same 30 s when a
# container is preempted: https://modal.com/docs/guide/lifecycle-functions, "modal.exit".
EXIT_TIMEOUT_S = 30
FRAME_S = 0.08
FRAME_BYTES = 1920 * 4
READY = b"ready port="
ENVIRONMENT = {"MODEL_NAME": "digits", "MODAL_KEY": "wk-test", "MODAL_SECRET": "ws-test"}

Request = stt_pb2.StreamingTranscribeRequest


class Container:
    """A process that runs the class; `before_ready` is what it printed before it listened."""

    def __init__(
        self, process: asyncio.subprocess.Process, port: int, before_ready: list[bytes]
    ) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.before_ready = before_ready

    async def wait_until_it_exits(self) -> int:
        return await asyncio.wait_for(self.process.wait(), EXIT_TIMEOUT_S)


@contextlib.asynccontextmanager
async def run_container(**environment: str) -> AsyncIterator[Container]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.deploy.container"),
        env={**os.environ, **ENVIRONMENT, **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        lines: list[bytes] = []
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (line := await process.stdout.readline()).startswith(READY):
                assert line, "the container ended"
                lines.append(line)
        yield Container(process, int(line.removeprefix(READY)), lines)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.timeout(180)
async def test_a_session_that_is_open_when_the_container_must_exit_gets_its_final(
    recordings: tuple[Recording, ...],
) -> None:
    recording = recordings[0]
    audio = recording.pcm_f32le()
    half = len(audio) // 2
    async with (
        run_container(BATCH_SIZE="2") as container,
        grpc.aio.insecure_channel(container.address) as channel,
    ):
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        info = await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())
        assert (info.model_name, info.slots_total) == ("digits", 2)
        assert await check_health(channel) == health_pb2.HealthCheckResponse.SERVING
        call = stub.StreamingTranscribe()
        await call.write(Request(config=stt_pb2.StreamingConfig()))
        events = aiter(call)
        assert (await anext(events)).HasField("ready")
        await call.write(Request(audio=audio[:half]))
        assert (await anext(events)).HasField("token")

        container.process.terminate()
        assert await wait_until_refused(stub) is grpc.StatusCode.UNAVAILABLE
        assert await check_health(channel) == health_pb2.HealthCheckResponse.NOT_SERVING
        await call.write(Request(audio=audio[half:]))
        await call.done_writing()
        responses = [response async for response in events]

        assert responses[-1].final.transcript.strip() == recording.text
        assert await call.code() is grpc.StatusCode.OK
        assert await container.wait_until_it_exits() == 0


class Speaker:
    """A caller who speaks in real time and does not stop, whatever comes back."""

    def __init__(self, channel: grpc.aio.Channel, audio: bytes) -> None:
        self._audio = audio
        self._call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
        self.responses: list[stt_pb2.StreamingTranscribeResponse] = []
        self.heard = asyncio.Event()
        """Set when the first token is there."""

    async def speak(self) -> None:
        loop = asyncio.get_running_loop()
        await self._call.write(Request(config=stt_pb2.StreamingConfig()))
        started = loop.time()
        for frame in itertools.count():
            start = frame * FRAME_BYTES % len(self._audio)
            await self._call.write(Request(audio=self._audio[start : start + FRAME_BYTES]))
            await asyncio.sleep(max(0.0, started + frame * FRAME_S - loop.time()))

    async def listen(self) -> grpc.StatusCode:
        """Collect what comes; the status that ends it."""
        try:
            async for response in self._call:
                self.responses.append(response)
                if response.HasField("token"):
                    self.heard.set()
        except grpc.aio.AioRpcError:
            pass
        return await self._call.code()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_who_speaks_on_when_the_container_must_exit_gets_the_last_words(
    recordings: tuple[Recording, ...],
) -> None:
    """Within the time that Modal gives: real signal, real clock, real model."""
    sessions = 3
    async with (
        run_container(BATCH_SIZE=str(sessions)) as container,
        grpc.aio.insecure_channel(container.address) as channel,
    ):
        speakers = [Speaker(channel, r.pcm_f32le()) for r in recordings[:sessions]]
        speaking = [asyncio.create_task(speaker.speak()) for speaker in speakers]
        listening = [asyncio.create_task(speaker.listen()) for speaker in speakers]
        async with asyncio.timeout(60):
            for speaker in speakers:
                await speaker.heard.wait()

        container.process.terminate()
        # Else the container would be killed, and its sessions with it.
        assert await container.wait_until_it_exits() == 0
        statuses = await asyncio.gather(*listening)
        for task in speaking:
            task.cancel()
        await asyncio.gather(*speaking, return_exceptions=True)

    for speaker, status in zip(speakers, statuses, strict=True):
        assert status is grpc.StatusCode.UNAVAILABLE
        final = speaker.responses[-1].final
        tokens = [r.token.text for r in speaker.responses if r.HasField("token")]
        assert final.transcript == "".join(tokens)
        # Most of the grace was spoken in, and heard.
        assert final.audio_duration.ToTimedelta().total_seconds() > DRAIN_GRACE_S / 2


@pytest.mark.timeout(180)
async def test_a_memory_snapshot_holds_a_warm_model_and_no_open_port() -> None:
    settings = {"KYUTAI_SNAPSHOT": "1", "MODAL_ENABLE_SNAP_RESTORE": "1"}
    async with run_container(**settings) as container:
        assert container.before_ready == [b"snapshot loaded=True port=0 grpc=0\n"]
        async with grpc.aio.insecure_channel(container.address) as channel:
            assert await check_health(channel) == health_pb2.HealthCheckResponse.SERVING


async def check_health(channel: grpc.aio.Channel) -> int:
    request = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
    return (await health_pb2_grpc.HealthStub(channel).Check(request)).status


async def wait_until_refused(stub: stt_pb2_grpc.SpeechToTextServiceAsyncStub) -> grpc.StatusCode:
    """Open sessions, and end them, until one is refused; its status."""
    async with asyncio.timeout(10):
        while True:
            call = stub.StreamingTranscribe(iter([Request(config=stt_pb2.StreamingConfig())]))
            try:
                _ = [response async for response in call]
            except grpc.aio.AioRpcError as error:
                return error.code()
            await asyncio.sleep(0.05)


class DyingModel:
    """The embedded model, until a step fails as a GPU fails."""

    def __init__(self, steps: int) -> None:
        model = MoshiModel(str(DIGITS_CHECKPOINT), slots=1, device="cpu", threads=1)
        self._model, self._steps = model, steps
        self.info, self.slots, self.warm_up = model.info, model.slots, model.warm_up

    def step(self, plan: StepPlan) -> StepOutput:
        self._steps -= 1
        if self._steps < 0:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return self._model.step(plan)


class DyingServer(Server):
    """A server whose model dies after ten steps."""

    def _load_model(self) -> DyingModel:
        return DyingModel(steps=10)


async def test_the_process_ends_when_the_engine_dies(recordings: tuple[Recording, ...]) -> None:
    statuses: asyncio.Queue[int] = asyncio.Queue()
    server = DyingServer(EngineConfig(slots=1), ServerConfig(grpc_address="127.0.0.1:0"))
    member = PoolMember(server, end_process=statuses.put_nowait)
    await member.load()
    assert member.port == 0, "nothing may listen before the model is warm"
    await member.listen()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{member.port}") as channel:
        requests = [
            Request(config=stt_pb2.StreamingConfig()),
            Request(audio=recordings[0].pcm_f32le()),
        ]
        call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(iter(requests))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            _ = [response async for response in call]
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert await asyncio.wait_for(statuses.get(), 10) == 1
    await server.stop()
