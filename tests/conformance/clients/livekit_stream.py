"""How LiveKit's agents use any of its speech-to-text plugins."""

from __future__ import annotations

import asyncio
from typing import Any

from conversation import FRAME_SAMPLES, RATE, Conversation, Report
from livekit import rtc
from livekit.agents import APIConnectOptions, stt


async def talk_to(plugin: Any, conversation: Conversation, report: Report) -> None:
    stream = plugin.stream(conn_options=APIConnectOptions(max_retry=0))

    async def send(audio: bytes) -> None:
        stream.push_frame(rtc.AudioFrame(audio, RATE, 1, FRAME_SAMPLES))

    async def receive() -> None:
        try:
            async for event in stream:
                match event.type:
                    case stt.SpeechEventType.INTERIM_TRANSCRIPT:
                        report.partials.append(event.alternatives[0].text)
                    case stt.SpeechEventType.FINAL_TRANSCRIPT:
                        report.finals.append(event.alternatives[0].text)
                        report.starts_s.append(event.alternatives[0].start_time)
        except Exception as error:
            report.errors.append(f"{type(error).__name__}: {error}")

    receiving = asyncio.create_task(receive())
    speaking = asyncio.create_task(conversation.speak(send))
    await asyncio.wait([receiving, speaking], return_when=asyncio.FIRST_COMPLETED)
    if not receiving.done():
        await conversation.wait_for_words(report)
    speaking.cancel()
    await stream.aclose()
    receiving.cancel()
