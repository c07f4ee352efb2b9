"""pipecat's service for NVIDIA, which leaves the end of a turn to the server."""

from conversation import Conversation, Report, run
from pipecat.services.nvidia.stt import NvidiaSTTService
from pipecat_pipeline import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    service = NvidiaSTTService(
        api_key=conversation.key, server=conversation.address, use_ssl=conversation.uses_tls
    )
    await talk_to(service, conversation, report)


run(talk)
