"""livekit-plugins-nvidia, pointed at the gRPC port."""

from conversation import Conversation, Report, run
from livekit.plugins import nvidia
from livekit_stream import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    plugin = nvidia.STT(
        server=conversation.address, use_ssl=conversation.uses_tls, api_key=conversation.key
    )
    await talk_to(plugin, conversation, report)


run(talk)
