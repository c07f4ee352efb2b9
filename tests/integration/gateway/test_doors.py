"""Every protocol through one gateway: handshakes, whole messages, limits, and what is said when."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import msgpack
import numpy as np
import pytest
import soundfile
import websockets

from client.rpc.endpoint import Endpoint
from gateway.protocols import DOORS, gradium, moshi_server
from stt.v1 import stt_pb2
from tests.integration.gateway.harness import (
    Refusal,
    RunningGateway,
    ScriptedService,
    free_port,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become

FULL = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "all 8 slots are taken", "NO_FREE_SLOT", 1.0)
MOSHI, GRADIUM, REALTIME = "/api/asr-streaming", "/api/speech/asr", "/v1/realtime"
SETUP = json.dumps({"type": "setup", "input_format": "pcm"})
UPDATE = json.dumps({"type": "session.update", "session": {"type": "transcription"}})
PCM = bytes(range(256)) * 30


@pytest.fixture
async def service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture
async def gateway(service: ScriptedService) -> AsyncIterator[RunningGateway]:
    async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
        yield gateway


def connect(gateway: RunningGateway, path: str, **options: Any) -> websockets.connect:
    return websockets.connect(f"ws://{gateway.http}{path}", proxy=None, **options)


def read(message: str | bytes) -> dict[str, Any]:
    return json.loads(message) if isinstance(message, str) else msgpack.unpackb(message)


async def read_until(websocket: websockets.ClientConnection, kind: str) -> dict[str, Any]:
    while (message := read(await websocket.recv()))["type"] != kind:
        pass
    return message


async def read_to_close(websocket: websockets.ClientConnection) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            messages.append(read(await websocket.recv()))
    return messages


def pack(kind: str, **fields: Any) -> bytes:
    return msgpack.packb({"type": kind, **fields}, use_single_float=True)


def append(audio: bytes) -> str:
    return json.dumps(
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(audio).decode()}
    )


class TestHandshake:
    @pytest.mark.parametrize("slash", ["", "/"])
    @pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)
    async def test_each_door_is_at_its_path(self, gateway: RunningGateway, door, slash: str):
        path = f"{door.paths[0]}{slash}"
        async with connect(gateway, path):
            pass
        asked = await gateway.get(path)
        assert asked.status_code == 426
        assert "WebSocket" in asked.text

    async def test_an_unknown_path_names_the_right_ones(self, gateway: RunningGateway):
        with pytest.raises(websockets.InvalidStatus) as refused:
            await connect(gateway, "/asr")
        body = (refused.value.response.body or b"").decode()
        page = await gateway.get("/asr")
        assert (refused.value.response.status_code, page.status_code) == (404, 404)
        for door in DOORS:
            assert door.paths[0] in body
            assert door.paths[0] in page.text

    async def test_a_subprotocol_is_answered(self, gateway: RunningGateway):
        offered = [
            websockets.Subprotocol(name) for name in ("realtime", "openai-insecure-api-key.k")
        ]
        async with connect(gateway, REALTIME, subprotocols=offered) as websocket:
            assert websocket.subprotocol == "realtime"
            assert read(await websocket.recv())["type"] == "session.created"

    async def test_a_session_is_named_as_its_connection_is_in_the_log(
        self, gateway: RunningGateway, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level(logging.INFO)
        async with connect(gateway, REALTIME) as websocket:
            created = read(await websocket.recv())
        _, name = created["session"]["id"].split("_")
        [opened] = [text for text in caplog.messages if "session opened" in text]
        assert name in opened

    @pytest.mark.parametrize(
        "content_type",
        ["application/grpc-web+proto", "application/connect+json", "application/json"],
    )
    async def test_grpc_web_and_connect_are_refused_with_a_sentence(
        self, gateway: RunningGateway, content_type: str
    ):
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                f"http://{gateway.http}/stt.v1.SpeechToTextService/Transcribe",
                content=b"\0\0\0\0\0",
                headers={"content-type": content_type},
            )
        assert answer.status_code == 415
        assert "gRPC-Web" in answer.text
        assert "/v1/stream" in answer.text


class TestWholeMessages:
    async def test_a_large_message_in_fragments_and_its_order(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        samples = np.arange(200_000, dtype="<f4") / 1e6
        packed = pack("Audio", pcm=samples.tolist())
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(packed[at : at + 9973] for at in range(0, len(packed), 9973))
            for number in range(50):
                await websocket.send(pack("Audio", pcm=[float(number)]))
            wanted = samples.tobytes() + np.arange(50, dtype="<f4").tobytes()
            await become(
                lambda: len(service.calls[0].audio) == len(wanted), lambda: "audio is missing"
            )
        assert bytes(service.calls[0].audio) == wanted

    async def test_a_text_that_is_longer_than_any_command(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        audio = PCM * 100
        async with connect(gateway, REALTIME) as websocket:
            await websocket.send(UPDATE)
            await websocket.send(append(audio))
            await become(
                lambda: bool(service.calls) and len(service.calls[0].audio) == len(audio),
                lambda: "audio is missing",
            )
        assert bytes(service.calls[0].audio) == audio

    @pytest.mark.parametrize("path", [MOSHI, GRADIUM, REALTIME])
    async def test_a_message_beyond_the_limit_ends_the_session(
        self, service: ScriptedService, path: str
    ):
        async with (
            run_scripted(service) as endpoint,
            run_gateway(endpoint, max_message_bytes=100_000) as gateway,
            connect(gateway, path) as websocket,
        ):
            with contextlib.suppress(websockets.ConnectionClosed):
                await websocket.send(bytes(200_000) if path == MOSHI else "x" * 200_000)
            messages = await read_to_close(websocket)
        assert messages[-1]["type"].lower() == "error"
        assert "100,000 bytes" in json.dumps(messages[-1])
        # Gradium knows two codes only.
        assert websocket.close_code == (1008 if path == GRADIUM else 1009)

    async def test_many_unfinished_messages_make_room_for_the_small_ones(
        self, service: ScriptedService
    ):
        async with contextlib.AsyncExitStack() as stack:
            endpoint = await stack.enter_async_context(run_scripted(service))
            gateway = await stack.enter_async_context(
                run_gateway(endpoint, max_buffered_bytes=4 * 1024 * 1024)
            )
            large = [await stack.enter_async_context(connect(gateway, MOSHI)) for _ in range(3)]

            async def begin(websocket: websockets.ClientConnection) -> int | None:
                async def pieces() -> AsyncIterator[bytes]:
                    for _ in range(10):
                        yield bytes(64 * 1024)
                    await done.wait()

                with contextlib.suppress(websockets.ConnectionClosed):
                    await websocket.send(pieces())
                return websocket.close_code

            done = asyncio.Event()
            sending = [asyncio.create_task(begin(websocket)) for websocket in large]
            # Three times 640 KiB, of which 128 KiB each do not count, do not fit into 1 MiB.
            closes = [asyncio.create_task(websocket.wait_closed()) for websocket in large]
            await asyncio.wait(closes, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            async with connect(gateway, MOSHI) as websocket:
                await read_until(websocket, "Ready")
                await websocket.send(pack("Audio", pcm=[0.5] * 24_000))
                await become(
                    lambda: any(len(call.audio) == 96_000 for call in service.calls),
                    lambda: "live audio is held up",
                )
            done.set()
            await asyncio.gather(*sending)
            assert [websocket.close_code for websocket in large].count(1013) == 1


class TestCalls:
    async def test_ogg_opus_opens_another_call_with_the_first_audio(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(pack("OggOpus", data=b"OggS and more"))
            await become(
                lambda: len(service.calls) == 2 and bool(service.calls[1].audio),
                lambda: "no second call",
            )
            await service.calls[0].ended.wait()
        assert service.calls[0].audio == b""
        assert service.calls[1].audio == b"OggS and more"
        assert service.calls[1].config.encoding == stt_pb2.ENCODING_OGG_OPUS

    async def test_a_wav_header_opens_another_call_and_the_client_is_ready_once(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        wav = io.BytesIO()
        soundfile.write(wav, np.zeros(800, np.int16), 8000, format="WAV")
        async with connect(gateway, GRADIUM) as websocket:
            await websocket.send(json.dumps({"type": "setup", "input_format": "wav"}))
            encoded = base64.b64encode(wav.getvalue()).decode()
            await websocket.send(json.dumps({"type": "audio", "audio": encoded}))
            await websocket.send(json.dumps({"type": "end_of_stream"}))
            kinds = [message["type"] for message in await read_to_close(websocket)]
        assert kinds.count("ready") == 1
        assert kinds[-1] == "end_of_stream"
        assert service.calls[-1].config.sample_rate_hertz == 8000
        assert service.calls[-1].audio == bytes(1600)

    async def test_a_stalled_client_has_its_markers_flushed(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(pack("Audio", pcm=[0.5]))
            for number in (7, -1):
                await websocket.send(pack("Marker", id=number))
            assert [(await read_until(websocket, "Marker"))["id"] for _ in range(2)] == [7, -1]
        assert service.calls[0].flush_ids == ["2"]

    async def test_pauses_change_in_the_middle(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        async with gateway.connect("?events=flushed") as websocket:
            await websocket.send(b"abcd")
            await websocket.send('{"type":"vad","pause_seconds":1}')
            await websocket.send('{"type":"flush"}')
            await read_until(websocket, "flushed")
        assert service.calls[0].vads == [stt_pb2.VadSettings(pause_seconds=1)]

    async def test_who_says_nothing_is_closed(self, service: ScriptedService):
        # Frozen: a door with less patience in its place.
        object.__setattr__(door := gradium.DOOR, "first_message_s", 0.2)
        try:
            async with (
                run_scripted(service) as endpoint,
                run_gateway(endpoint) as gateway,
                connect(gateway, GRADIUM) as websocket,
            ):
                assert await read_to_close(websocket) == []
                assert (websocket.close_code, websocket.close_reason) == (1000, "idle")
        finally:
            object.__setattr__(door, "first_message_s", 10.0)
        assert service.calls == []

    @pytest.mark.parametrize("path", [GRADIUM, REALTIME, "/v1/stream", MOSHI])
    async def test_how_long_a_client_waits_for_a_slot(
        self, gateway: RunningGateway, service: ScriptedService, path: str
    ):
        async with connect(gateway, path) as websocket:
            first = {GRADIUM: SETUP, REALTIME: UPDATE, "/v1/stream": "", MOSHI: b""}[path]
            if first:
                await websocket.send(first)
            await become(lambda: bool(service.calls), lambda: "no call")
        wait_s = 0 if path == MOSHI else 3
        assert service.calls[0].config.wait_for_slot.ToSeconds() == wait_s


class TestAnswers:
    """What each client is told where it has to come back later."""

    @pytest.mark.parametrize(
        ("path", "first", "last", "code"),
        [
            ("/v1/stream", None, {"type": "error", "message": FULL.text}, 1013),
            (MOSHI, None, {"type": "Error", "message": "no free channels"}, 1013),
            (GRADIUM, SETUP, {"type": "error", "message": FULL.text, "code": 1011}, 1011),
            (REALTIME, UPDATE, None, 1013),
        ],
    )
    async def test_full(
        self,
        gateway: RunningGateway,
        service: ScriptedService,
        path: str,
        first: str | None,
        last: dict[str, Any] | None,
        code: int,
    ):
        service.refuse = [FULL]
        async with connect(gateway, path) as websocket:
            if first is not None:
                await websocket.send(first)
            messages = await read_to_close(websocket)
        assert websocket.close_code == code
        errors = [message for message in messages if message["type"].lower() == "error"]
        assert errors == ([] if last is None else [last])

    async def test_a_moshi_client_is_told_within_half_a_second_that_the_service_is_cold(self):
        nobody = Endpoint.parse(f"127.0.0.1:{free_port()}")
        async with run_gateway(nobody) as gateway, connect(gateway, MOSHI) as websocket:
            connected_s = time.monotonic()
            [error] = await read_to_close(websocket)
            waited_s = time.monotonic() - connected_s
        assert error["message"].startswith(moshi_server.NO_FREE_CHANNELS)
        assert websocket.close_code == 1013
        # Half a second, and what a busy machine adds.
        assert waited_s < 1.0

    async def test_a_moshi_client_is_told_so_where_the_service_says_nothing_at_all(self):
        with contextlib.closing(await asyncio.start_server(_say_nothing, "127.0.0.1", 0)) as silent:
            port = silent.sockets[0].getsockname()[1]
            async with (
                run_gateway(Endpoint.parse(f"127.0.0.1:{port}")) as gateway,
                connect(gateway, MOSHI) as websocket,
            ):
                connected_s = time.monotonic()
                [error] = await read_to_close(websocket)
                waited_s = time.monotonic() - connected_s
        assert error["message"].startswith(moshi_server.NO_FREE_CHANNELS)
        assert waited_s < 1.0


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.closing(writer):
        while await reader.read(4096):
            pass


class TestRecordings:
    async def post(self, gateway: RunningGateway, content: Any) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.post(f"http://{gateway.http}{MOSHI}", content=content)

    async def test_what_a_wav_file_holds_is_what_the_service_hears(
        self, gateway: RunningGateway, service: ScriptedService
    ):
        samples = np.arange(-20_000, 20_000, dtype=np.int16)
        wav = io.BytesIO()
        soundfile.write(wav, samples, 16_000, format="WAV")
        answer = await self.post(gateway, wav.getvalue())
        assert (answer.status_code, answer.json()) == (200, [])
        assert bytes(service.calls[0].audio) == samples.astype("<i2").tobytes()
        assert service.calls[0].config.sample_rate_hertz == 16_000

    async def test_ogg_passes_as_it_is(self, gateway: RunningGateway, service: ScriptedService):
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"Og", b"gS", b" and more"):
                yield piece

        assert (await self.post(gateway, pieces())).status_code == 200
        assert bytes(service.calls[0].audio) == b"OggS and more"

    @pytest.mark.parametrize("content", [b"", b"RI", b"ID3", b"RIFF\0\0\0\0WAVE", bytes(100)])
    async def test_what_is_no_recording_is_said(
        self, gateway: RunningGateway, service: ScriptedService, content: bytes
    ):
        answer = await self.post(gateway, content)
        assert answer.status_code == 400
        [error] = answer.json()
        assert error["type"] == "Error"
        assert service.calls == []

    async def test_a_full_service_is_said(self, gateway: RunningGateway, service: ScriptedService):
        service.refuse = [FULL]
        answer = await self.post(gateway, b"OggS" + bytes(1000))
        assert answer.status_code == 503
        assert answer.json() == [{"type": "Error", "message": FULL.text}]

    async def test_what_is_served(self, gateway: RunningGateway):
        assert "git_describe" in (await gateway.get("/api/build_info")).json()
        [module] = (await gateway.get("/api/modules_info")).json()
        assert (module["lm"], module["total_slots"]) == ("scripted", "1")
