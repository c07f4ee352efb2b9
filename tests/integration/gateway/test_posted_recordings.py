"""What is POSTed for clients of moshi-server, and what they are told of the service."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from tests.integration.gateway.doors import FULL, MOSHI
from tests.integration.gateway.harness import (
    RunningGateway,
    ScriptedService,
)


async def post(gateway: RunningGateway, content: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(f"http://{gateway.http}{MOSHI}", content=content)


async def test_what_a_wav_file_holds_is_what_the_service_hears(
    gateway: RunningGateway, scripted: ScriptedService
):
    samples = np.arange(-20_000, 20_000, dtype=np.int16)
    wav = io.BytesIO()
    soundfile.write(wav, samples, 16_000, format="WAV")
    answer = await post(gateway, wav.getvalue())
    assert (answer.status_code, answer.json()) == (200, [])
    assert bytes(scripted.calls[0].audio) == samples.astype("<i2").tobytes()
    assert scripted.calls[0].config.sample_rate_hertz == 16_000


async def test_ogg_passes_as_it_is(gateway: RunningGateway, scripted: ScriptedService):
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"Og", b"gS", b" and more"):
            yield piece

    assert (await post(gateway, pieces())).status_code == 200
    assert bytes(scripted.calls[0].audio) == b"OggS and more"


@pytest.mark.parametrize("content", [b"", b"RI", b"ID3", b"RIFF\0\0\0\0WAVE", bytes(100)])
async def test_what_is_no_recording_is_said(
    gateway: RunningGateway, scripted: ScriptedService, content: bytes
):
    answer = await post(gateway, content)
    assert answer.status_code == 400
    [error] = answer.json()
    assert error["type"] == "Error"
    assert scripted.calls == []


async def test_a_full_service_is_said(gateway: RunningGateway, scripted: ScriptedService):
    scripted.refuse = [FULL]
    answer = await post(gateway, b"OggS" + bytes(1000))
    assert answer.status_code == 503
    assert answer.json() == [{"type": "Error", "message": FULL.text}]


async def test_what_is_served(gateway: RunningGateway):
    assert "git_describe" in (await gateway.get("/api/build_info")).json()
    [module] = (await gateway.get("/api/modules_info")).json()
    assert (module["lm"], module["total_slots"]) == ("scripted", "1")
