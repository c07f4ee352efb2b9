"""A pipecat pipeline that hears with this service, through its OpenAI realtime service.

    uv pip install "pipecat-ai[openai,websocket]"
    python examples/pipecat_pipeline.py

A recording stands for the microphone: with a transport, its input comes first in the pipeline, and
what answers (llm, tts) comes after `stt`.
"""

import asyncio
import wave

from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.workers.runner import WorkerRunner

GATEWAY = "ws://127.0.0.1:8000/v1/realtime"
RECORDING = "client/recordings/01-jackson.wav"
FRAME_S = 0.02
SILENCE_S = 3.0


class Printer(FrameProcessor):
    """Shows what was heard."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case InterimTranscriptionFrame():
                print("…", frame.text)
            case TranscriptionFrame():
                print(frame.text)
        await self.push_frame(frame, direction)


async def main() -> None:
    stt = OpenAIRealtimeSTTService(
        base_url=GATEWAY,
        # A key of the service, if it asks for one; pipecat wants some.
        api_key="none",
        # The service finds the ends of turns, so the pipeline needs no VAD.
        turn_detection={"type": "server_vad", "silence_duration_ms": 1000},
    )
    with wave.open(RECORDING) as file:
        rate, pcm = file.getframerate(), file.readframes(file.getnframes())
    pcm += bytes(2 * round(SILENCE_S * rate))
    worker = PipelineWorker(
        Pipeline([stt, Printer()]), params=PipelineParams(audio_in_sample_rate=rate)
    )

    @worker.event_handler("on_pipeline_started")
    async def speak(worker: PipelineWorker, _frame: Frame) -> None:
        size = 2 * round(FRAME_S * rate)
        for at in range(0, len(pcm), size):
            await worker.queue_frame(InputAudioRawFrame(pcm[at : at + size], rate, 1))
            await asyncio.sleep(FRAME_S)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner()
    await runner.add_workers(worker)
    await runner.run()


asyncio.run(main())
