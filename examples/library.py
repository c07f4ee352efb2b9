"""Transcribe a recording with the client library, as it would be spoken."""

import asyncio

from client import FileSource, Final, SttClient, Token


async def main():
    async with SttClient("127.0.0.1:50051") as client:
        async for event in client.stream(FileSource("client/recordings/01-jackson.wav", pace=1.0)):
            match event:
                case Token(text):
                    print(text, end="", flush=True)
                case Final(transcript, words):
                    print(f"\n{transcript.strip()}: {len(words)} words")


asyncio.run(main())
