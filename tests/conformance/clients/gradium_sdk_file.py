"""gradium, the SDK of Gradium: a whole WAV file at once."""

from conversation import Conversation, Report, run
from gradium import GradiumClient


async def talk(conversation: Conversation, report: Report) -> None:
    client = GradiumClient(base_url=f"http://{conversation.address}/api/", api_key=conversation.key)
    setup = {"model_name": "default", "input_format": "wav"}
    result = await client.stt(setup, conversation.read_file())
    report.finals.append(result.text)
    report.starts_s += [word.start_s for word in result.text_with_timestamps]


run(talk)
