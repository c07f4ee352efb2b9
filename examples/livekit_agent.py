"""A LiveKit agent that hears with this service, through the OpenAI plugin.

    uv pip install livekit-agents livekit-plugins-openai
    python examples/livekit_agent.py

A recording stands for the microphone. In a room, start the session with `room=ctx.room` and leave
`Recording` out; the rest of an agent (llm, tts) is not changed by where it hears.
"""

import asyncio
import wave

from livekit import rtc
from livekit.agents import Agent, AgentSession, TurnHandlingOptions, UserInputTranscribedEvent
from livekit.agents.utils import http_context
from livekit.agents.voice.io import AudioInput
from livekit.plugins import openai

GATEWAY = "http://127.0.0.1:8000/v1"
RECORDING = "client/recordings/01-jackson.wav"
FRAME_S = 0.02
SILENCE_S = 3.0


def make_session() -> AgentSession:
    stt = openai.STT(
        base_url=GATEWAY,
        # A key of the service, if it asks for one; the plugin wants some.
        api_key="none",
        use_realtime=True,
        turn_detection={"type": "server_vad", "silence_duration_ms": 1000},
    )
    return AgentSession(stt=stt, turn_handling=TurnHandlingOptions(turn_detection="stt"))


class Recording(AudioInput):
    """A recording and some silence, as fast as it was spoken."""

    def __init__(self, path: str) -> None:
        super().__init__(label=path)
        with wave.open(path) as file:
            self.rate = file.getframerate()
            self.pcm = file.readframes(file.getnframes())
        self.pcm += bytes(2 * round(SILENCE_S * self.rate))
        self.at = 0
        self.ended = asyncio.Event()

    async def __anext__(self) -> rtc.AudioFrame:
        samples = round(FRAME_S * self.rate)
        data = self.pcm[self.at : self.at + 2 * samples]
        if len(data) < 2 * samples:
            self.ended.set()
            raise StopAsyncIteration
        self.at += len(data)
        await asyncio.sleep(FRAME_S)
        return rtc.AudioFrame(data, self.rate, 1, samples)


async def main() -> None:
    session = make_session()

    @session.on("user_input_transcribed")
    def show(event: UserInputTranscribedEvent) -> None:
        if event.is_final:
            print(event.transcript)

    async with http_context.open():
        recording = Recording(RECORDING)
        session.input.audio = recording
        await session.start(Agent(instructions="Listen."))
        await recording.ended.wait()
        await session.aclose()


asyncio.run(main())
