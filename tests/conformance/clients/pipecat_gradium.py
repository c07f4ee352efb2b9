"""pipecat's service for Gradium, which ends a turn by a flush."""

from conversation import Conversation, Report, run
from pipecat.services.gradium.stt import GradiumSTTService
from pipecat_pipeline import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    url = f"ws://{conversation.address}/api/speech/asr"
    service = GradiumSTTService(api_key=conversation.key, api_endpoint_base_url=url)
    await talk_to(service, conversation, report)


run(talk)
