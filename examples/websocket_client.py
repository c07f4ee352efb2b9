"""Transcribe a recording over the WebSocket protocol."""

import asyncio
import json

import soundfile
import soxr
import websockets

uri = "ws://127.0.0.1:8000/v1/stream"
headers = {}  # on Modal: {"Modal-Key": "wk-…", "Modal-Secret": "ws-…"}


async def main():
    samples, rate = soundfile.read("client/recordings/01-jackson.wav", dtype="float32")
    audio = soxr.resample(samples, rate, 24000).astype("<f4").tobytes()
    async with websockets.connect(uri, additional_headers=headers) as ws:
        await ws.send(audio)
        async for message in ws:
            event = json.loads(message)
            if event["type"] == "token":
                print(event["text"], end="", flush=True)
            elif event["type"] == "error":
                raise SystemExit(event["message"])


asyncio.run(main())
