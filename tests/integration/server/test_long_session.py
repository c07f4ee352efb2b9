"""A session of more words than one message holds, over a real call with gRPC's own limits."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.config import EngineConfig, EngineLimits, ServerConfig
from stt_service.engine.model import ModelInfo, StepOutput, StepPlan
from stt_service.server import Server
from tests.integration.server.calls import Request, request_config, texts

FRAME_SAMPLES = 24
WORDS = 115_000
WORD = b" anyway"


class TalkingModel:
    """Says a word at each of its frames, which last a millisecond: an hour's words in seconds."""

    slots = 1
    info = ModelInfo(
        sample_rate_hertz=24_000,
        frame_samples=FRAME_SAMPLES,
        delay_s=0.0,
        silence_prefix_s=0.0,
        padding_id=3,
        end_of_padding_id=0,
        pieces=(b"", WORD, b"", b""),
        pause_heads_s=(),
    )

    def warm_up(self) -> None:
        pass

    def step(self, plan: StepPlan) -> StepOutput:
        # Silence is what the engine makes up, and has no words.
        text_ids = np.where(plan.pcm[:, 0].any(axis=1), 1, 3)
        return StepOutput(text_ids, np.ones(1, np.float32), np.zeros((1, 0), np.float32))


async def speak() -> AsyncIterator[Request]:
    yield request_config(encoding=stt_pb2.ENCODING_PCM_S16LE)
    second = np.full(1000 * FRAME_SAMPLES, 1000, dtype="<i2").tobytes()
    for _ in range(WORDS // 1000):
        yield Request(audio=second)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_the_final_of_a_very_long_session_arrives_and_says_that_it_is_cut() -> None:
    limits = EngineLimits(max_behind_s=3600)
    config = ServerConfig(grpc_address="127.0.0.1:0")
    server = Server(EngineConfig(slots=1, limits=limits), config, TalkingModel)
    await server.start()
    await server.warm_up()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(speak())
            async with asyncio.timeout(500):
                responses = [response async for response in call]
    finally:
        await server.stop()
    final, said = responses[-1].final, texts(responses)
    assert said == WORD.decode() * WORDS
    assert final.is_cut
    assert said.startswith(final.transcript)
    assert len(final.transcript) == len(WORD) * len(final.words)
    assert 70_000 < len(final.words) < WORDS
    assert final.audio_duration.ToMilliseconds() == WORDS
