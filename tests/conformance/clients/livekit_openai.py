"""livekit-plugins-openai with its realtime transcription."""

from conversation import Conversation, Report, run
from livekit.agents.utils import http_context
from livekit.plugins import openai
from livekit_stream import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    async with http_context.open():
        plugin = openai.STT(
            base_url=f"http://{conversation.address}/v1",
            api_key=conversation.key,
            use_realtime=True,
            turn_detection={"type": "server_vad", "silence_duration_ms": 1000},
        )
        await talk_to(plugin, conversation, report)
        await plugin.aclose()


run(talk)
