"""pipecat's service for OpenAI's realtime transcription, which ends a turn by a commit."""

from conversation import Conversation, Report, run
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat_pipeline import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    url = f"ws://{conversation.address}/v1/realtime"
    await talk_to(
        OpenAIRealtimeSTTService(api_key=conversation.key, base_url=url), conversation, report
    )


run(talk)
