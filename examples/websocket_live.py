"""Stream a recording at the speed of speech; print every word with its times."""

import asyncio
import json

import soundfile
import websockets

uri = "ws://127.0.0.1:8000/v1/stream?events=word,final&encoding=pcm_s16le&sample_rate=8000"
block_s = 0.08


async def send(ws, samples, rate):
    block = round(block_s * rate)
    for start in range(0, len(samples), block):
        await ws.send(samples[start : start + block].astype("<i2").tobytes())
        await asyncio.sleep(block_s)
    await ws.send(json.dumps({"type": "end"}))


async def receive(ws):
    async for message in ws:
        event = json.loads(message)
        match event["type"]:
            case "word":
                print(f"{event['start']:5.2f} to {event['end']:5.2f} s  {event['text']}")
            case "final":
                print(event["transcript"].strip())
            case "error":
                raise SystemExit(event["message"])


async def main():
    samples, rate = soundfile.read("client/recordings/01-jackson.wav", dtype="int16")
    async with websockets.connect(uri) as ws:
        await asyncio.gather(send(ws, samples, rate), receive(ws))


asyncio.run(main())
