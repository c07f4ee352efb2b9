"""How pipecat's pipelines use any of its speech-to-text services, with a VAD of their own."""

from __future__ import annotations

import asyncio

from conversation import RATE, Conversation, Report
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
    UserStoppedSpeakingFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.workers.runner import WorkerRunner


class Listener(FrameProcessor):
    """Writes down what comes out of a service, down and up the pipeline."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case InterimTranscriptionFrame():
                self._report.partials.append(frame.text)
            case TranscriptionFrame():
                self._report.finals.append(frame.text)
            case ErrorFrame():
                self._report.errors.append(frame.error)
        await self.push_frame(frame, direction)


async def talk_to(service: FrameProcessor, conversation: Conversation, report: Report) -> None:
    pipeline = Pipeline([Listener(report), service, Listener(report)])
    worker = PipelineWorker(
        pipeline,
        cancel_on_idle_timeout=False,
        params=PipelineParams(audio_in_sample_rate=RATE),
    )
    started = asyncio.Event()

    @worker.event_handler("on_pipeline_started")
    async def note_start(_worker: PipelineWorker, _frame: Frame) -> None:
        started.set()

    async def send(audio: bytes) -> None:
        await worker.queue_frame(InputAudioRawFrame(audio, RATE, 1))

    async def end_turn() -> None:
        await worker.queue_frame(VADUserStoppedSpeakingFrame())
        await worker.queue_frame(UserStoppedSpeakingFrame())

    async def speak() -> None:
        await started.wait()
        await worker.queue_frame(VADUserStartedSpeakingFrame())
        await conversation.speak(send, end_turn)
        await conversation.wait_for_words(report)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    speaking = asyncio.create_task(speak())
    await runner.run()
    if not speaking.done():
        # What was connected too slowly, for one.
        report.errors.append("the pipeline has stopped")
        speaking.cancel()
