"""livekit-plugins-nvidia, pointed at the gRPC port without TLS."""

from conversation import KEY, Conversation, Report, run
from livekit.plugins import nvidia
from livekit_stream import talk_to


async def talk(conversation: Conversation, report: Report) -> None:
    plugin = nvidia.STT(server=conversation.address, use_ssl=False, api_key=KEY)
    await talk_to(plugin, conversation, report)


run(talk)
