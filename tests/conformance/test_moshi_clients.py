"""Clients of moshi-server that are no packages, in the manner of their sources.

Kyutai's two scripts (delayed-streams-modeling, stt_from_file_rust_server.py and
stt_from_mic_rust_server.py), unmute's backend (unmute/stt/speech_to_text.py), and a Go client that
sends a marker each 100 ms and decodes numbers by their types (hekmon/kyutai-rs).
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

import msgpack
import numpy as np
import websockets

from tests.conformance.protocols import MOSHI_PATH, Heard, connect, pack, read_moshi
from tests.conformance.speech import FRAME_SAMPLES, Speech
from tests.support import Service

SECOND = np.zeros(24_000, np.float32)
FRAME_S = 0.08
KEY = {"kyutai-api-key": "public_token"}
PAUSE_HEAD = 2


async def send_audio(websocket: websockets.ClientConnection, samples: np.ndarray) -> None:
    await websocket.send(pack("Audio", pcm=[float(sample) for sample in samples]))


async def test_a_file_with_a_marker_and_35_seconds_of_silence_behind_it(
    service: Service, speech: Speech
):
    """stt_from_file_rust_server.py: waits for no Ready, and stops at its Marker."""
    heard = Heard()
    async with connect(service, MOSHI_PATH, additional_headers=KEY) as websocket:

        async def send() -> None:
            await send_audio(websocket, SECOND)
            for at in range(0, len(speech.samples), FRAME_SAMPLES):
                await send_audio(websocket, speech.samples[at : at + FRAME_SAMPLES])
                await asyncio.sleep(FRAME_S / 1000)
            for _ in range(5):
                await send_audio(websocket, SECOND)
            await websocket.send(pack("Marker", id=0))
            for _ in range(35):
                await send_audio(websocket, SECOND)

        sending = asyncio.create_task(send())
        async for message in websocket:
            data = msgpack.unpackb(message, raw=False)
            heard.kinds.append(data["type"])
            read_moshi(heard, data)
            if data["type"] == "Marker":
                break
        sending.cancel()
    assert heard.text == speech.text
    frames_before = (len(SECOND) * 6 + len(speech.samples)) // FRAME_SAMPLES
    # The marker comes back with the step that has heard the delay beyond it, and not long after.
    assert 0 <= heard.kinds.count("Step") - frames_before < 15


async def test_a_microphone_that_shows_pauses(service: Service, speech: Speech):
    """stt_from_mic_rust_server.py --show-vad: prs[2] above 0.5 after words is a pause."""
    shown: list[str] = []
    async with connect(service, f"{MOSHI_PATH}?auth_id=public_token") as websocket:

        async def send() -> None:
            for at in range(0, len(speech.samples), FRAME_SAMPLES):
                await send_audio(websocket, speech.samples[at : at + FRAME_SAMPLES])
                await asyncio.sleep(FRAME_S / 4)
            await websocket.send(pack("Marker", id=1))

        sending = asyncio.create_task(send())
        speech_started = False
        async for message in websocket:
            data = msgpack.unpackb(message, raw=False)
            match data["type"]:
                case "Step" if speech_started and data["prs"][PAUSE_HEAD] > 0.5:
                    shown.append("|")
                    speech_started = False
                case "Word":
                    shown.append(data["text"])
                    speech_started = True
                case "Marker":
                    break
        await sending
    assert " ".join(shown) == " | ".join([*speech.turns, ""]).strip()


async def test_unmute(service: Service, speech: Speech):
    """Half a second to Ready, its clock from Steps, a flush by frames of zeros in a burst."""
    async with asyncio.timeout(0.5):
        websocket = await connect(service, MOSHI_PATH, additional_headers=KEY)
        assert msgpack.unpackb(await websocket.recv())["type"] == "Ready"
    heard = Heard()
    delay_s, clock_s = 0.5, -0.5
    turn_end_s = speech.turn_ends_s[0]
    async with websocket:

        async def send() -> None:
            for at in range(0, int(turn_end_s * 24_000), FRAME_SAMPLES):
                await send_audio(websocket, speech.samples[at : at + FRAME_SAMPLES])
                await asyncio.sleep(FRAME_S / 4)
            for _ in range(int(np.ceil(delay_s / FRAME_S)) + 1):
                await send_audio(websocket, np.zeros(FRAME_SAMPLES, np.float32))

        sending = asyncio.create_task(send())
        # It has flushed when the clock has passed the time at which it began to.
        while clock_s < turn_end_s:
            data = msgpack.unpackb(await websocket.recv())
            heard.kinds.append(data["type"])
            read_moshi(heard, data)
            if data["type"] == "Step":
                clock_s += FRAME_S
        await sending
    assert heard.text == speech.turns[0]


async def test_a_marker_each_100_ms_and_numbers_by_their_types(service: Service, speech: Speech):
    """kyutai-rs, in Go: structs with float32 and float64, 51 markers over five seconds."""
    samples, marker_samples = speech.samples[: 24_000 * 5], 2_400
    markers: list[int] = []
    steps: list[dict[str, Any]] = []
    heard = Heard()
    async with connect(service, f"{MOSHI_PATH}?format=PcmMessagePack") as websocket:
        assert msgpack.unpackb(await websocket.recv()) == {"type": "Ready"}

        async def send() -> None:
            for number, at in enumerate(range(0, len(samples), marker_samples)):
                await websocket.send(pack("Marker", id=number))
                await send_audio(websocket, samples[at : at + marker_samples])
                await asyncio.sleep(0.02)
            await websocket.send(pack("Marker", id=50))

        sending = asyncio.create_task(send())
        while 50 not in markers:
            message = await websocket.recv()
            assert isinstance(message, bytes)
            data = msgpack.unpackb(message)
            check_types(message, data)
            read_moshi(heard, data)
            match data["type"]:
                case "Marker":
                    markers.append(data["id"])
                case "Step":
                    steps.append(data)
        await sending
    assert markers == list(range(51))
    assert heard.words == speech.turns[0].split()
    assert [step["step_idx"] for step in steps] == list(range(len(steps)))
    # The last frame is not whole: 62.5 of them were sent.
    assert len(steps) in (62, 63)
    assert steps[-1]["buffered_pcm"] < FRAME_SAMPLES


def check_types(message: bytes, data: dict[str, Any]) -> None:
    """Floats are float32 in a Step and float64 in words, as moshi-server writes them."""
    match data["type"]:
        case "Step":
            for probability in data["prs"]:
                assert b"\xca" + struct.pack(">f", probability) in message
        case "Word":
            assert b"\xcb" + struct.pack(">d", data["start_time"]) in message
        case "EndWord":
            assert b"\xcb" + struct.pack(">d", data["stop_time"]) in message


async def test_steps_are_exactly_the_frames_that_were_sent(service: Service, speech: Speech):
    count = 0
    async with connect(service, MOSHI_PATH) as websocket:
        started_s = time.monotonic()
        await websocket.recv()
        assert time.monotonic() - started_s < 0.5
        frames = len(speech.samples) // FRAME_SAMPLES
        await send_audio(websocket, speech.samples)
        await websocket.send(pack("Marker", id=7))
        while (data := msgpack.unpackb(await websocket.recv()))["type"] != "Marker":
            count += data["type"] == "Step"
    assert count == frames
