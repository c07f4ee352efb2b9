"""Every protocol through one gateway: handshakes, calls, and what is said when."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import time
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import websockets

from client.rpc.endpoint import Endpoint
from gateway.protocols import DOORS, gradium, moshi_server
from stt.v1 import stt_pb2
from tests.integration.gateway.doors import (
    FULL,
    GRADIUM,
    MOSHI,
    REALTIME,
    SETUP,
    UPDATE,
    connect,
    pack,
    read,
    read_to_close,
    read_until,
)
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
    free_port,
    run_gateway,
    run_scripted,
)
from tests.interleaving import become


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


class TestCalls:
    async def test_ogg_opus_opens_another_call_with_the_first_audio(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(pack("OggOpus", data=b"OggS and more"))
            await become(
                lambda: len(scripted.calls) == 2 and bool(scripted.calls[1].audio),
                lambda: "no second call",
            )
            await scripted.calls[0].ended.wait()
        assert scripted.calls[0].audio == b""
        assert scripted.calls[1].audio == b"OggS and more"
        assert scripted.calls[1].config.encoding == stt_pb2.ENCODING_OGG_OPUS

    async def test_a_wav_header_opens_another_call_and_the_client_is_ready_once(
        self, gateway: RunningGateway, scripted: ScriptedService
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
        assert scripted.calls[-1].config.sample_rate_hertz == 8000
        assert scripted.calls[-1].audio == bytes(1600)

    async def test_a_stalled_client_has_its_markers_flushed(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async with connect(gateway, MOSHI) as websocket:
            await read_until(websocket, "Ready")
            await websocket.send(pack("Audio", pcm=[0.5]))
            for number in (7, -1):
                await websocket.send(pack("Marker", id=number))
            assert [(await read_until(websocket, "Marker"))["id"] for _ in range(2)] == [7, -1]
        assert scripted.calls[0].flush_ids == ["2"]

    async def test_pauses_change_in_the_middle(
        self, gateway: RunningGateway, scripted: ScriptedService
    ):
        async with gateway.connect("?events=flushed") as websocket:
            await websocket.send(b"abcd")
            await websocket.send('{"type":"vad","pause_seconds":1}')
            await websocket.send('{"type":"flush"}')
            await read_until(websocket, "flushed")
        assert scripted.calls[0].vads == [stt_pb2.VadSettings(pause_seconds=1)]

    async def test_who_says_nothing_is_closed(self, scripted: ScriptedService):
        # Frozen: a door with less patience in its place.
        object.__setattr__(door := gradium.DOOR, "first_message_s", 0.2)
        try:
            async with (
                run_scripted(scripted) as endpoint,
                run_gateway(endpoint) as gateway,
                connect(gateway, GRADIUM) as websocket,
            ):
                assert await read_to_close(websocket) == []
                assert (websocket.close_code, websocket.close_reason) == (1000, "idle")
        finally:
            object.__setattr__(door, "first_message_s", 10.0)
        assert scripted.calls == []

    @pytest.mark.parametrize("path", [GRADIUM, REALTIME, "/v1/stream", MOSHI])
    async def test_how_long_a_client_waits_for_a_slot(
        self, gateway: RunningGateway, scripted: ScriptedService, path: str
    ):
        async with connect(gateway, path) as websocket:
            first = {GRADIUM: SETUP, REALTIME: UPDATE, "/v1/stream": "", MOSHI: b""}[path]
            if first:
                await websocket.send(first)
            await become(lambda: bool(scripted.calls), lambda: "no call")
        wait_s = 0 if path == MOSHI else 3
        assert scripted.calls[0].config.wait_for_slot.ToSeconds() == wait_s


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
        scripted: ScriptedService,
        path: str,
        first: str | None,
        last: dict[str, Any] | None,
        code: int,
    ):
        scripted.refuse = [FULL]
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
