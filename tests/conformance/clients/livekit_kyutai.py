"""livekit-plugins-kyutai-lasuite, which La Suite Meet captions its calls with."""

import aiohttp
from conversation import Conversation, Report, run
from lasuite.plugins import kyutai
from livekit_stream import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"ws://{conversation.address}/api/asr-streaming"
        plugin = kyutai.STT(base_url=url, api_key=conversation.key, http_session=session)
        await talk_to(plugin, conversation, report)


run(talk)
