"""livekit-plugins-gradium, which ends a turn by the probabilities in `step` alone."""

import aiohttp
from conversation import Conversation, Report, run
from livekit.plugins import gradium
from livekit_stream import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"ws://{conversation.address}/api/speech/asr"
        plugin = gradium.STT(model_endpoint=url, api_key=conversation.key, http_session=session)
        await talk_to(plugin, conversation, report)


run(talk)
