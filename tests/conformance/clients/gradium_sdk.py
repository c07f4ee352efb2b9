"""gradium, the SDK of Gradium: a stream in real time with a flush at the end of each turn."""

import asyncio

from conversation import Conversation, Report, run
from gradium import GradiumClient


async def talk(conversation: Conversation, report: Report) -> None:
    client = GradiumClient(base_url=f"http://{conversation.address}/api/", api_key=conversation.key)
    words: list[str] = []
    async with client.stt_realtime(model_name="default", input_format="pcm") as stt:

        async def flush() -> None:
            await stt.send_flush(1)

        async def send() -> None:
            await conversation.speak(stt.send_audio, flush)
            await stt.send_eos()

        async def receive() -> None:
            async for message in stt:
                match message["type"]:
                    case "text":
                        words.append(message["text"])
                        report.starts_s.append(message["start_s"])
                        report.partials.append(message["text"])
                    case "flushed" | "end_of_stream" if words:
                        report.finals.append(" ".join(words))
                        words.clear()
                    case "error":
                        report.errors.append(message["message"])

        await asyncio.gather(send(), receive())


run(talk)
