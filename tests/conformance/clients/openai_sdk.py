"""openai, the SDK of OpenAI: the turns are found by the server."""

import asyncio
import base64

from conversation import Conversation, Report, run
from openai import AsyncOpenAI

SESSION = {
    "type": "transcription",
    "audio": {
        "input": {
            "format": {"type": "audio/pcm", "rate": 24000},
            "transcription": {"model": "gpt-transcribe", "language": "en"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 1000},
        }
    },
}


async def talk(conversation: Conversation, report: Report) -> None:
    client = AsyncOpenAI(api_key=conversation.key, base_url=f"http://{conversation.address}/v1")
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(session=SESSION)

        async def send(audio: bytes) -> None:
            await connection.input_audio_buffer.append(audio=base64.b64encode(audio).decode())

        async def receive() -> None:
            async for event in connection:
                match event.type:
                    case "conversation.item.input_audio_transcription.delta":
                        report.partials.append(event.delta)
                    case "conversation.item.input_audio_transcription.completed":
                        report.finals.append(event.transcript)
                    case "error":
                        report.errors.append(event.error.message)

        receiving = asyncio.create_task(receive())
        await conversation.speak(send)
        await conversation.wait_for_words(report)
        receiving.cancel()


run(talk)
