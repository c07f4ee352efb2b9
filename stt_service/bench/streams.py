"""Live streams against a running server, in processes of their own: what the clients cost is not
what is measured."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from stt_service.bench.other_protocols import RATE_HERTZ, STREAMS

MESSAGE_SAMPLES = 1_920
MESSAGE_S = MESSAGE_SAMPLES / RATE_HERTZ
STREAMS_PER_PROCESS = 16
# For the processes to import what they need.
BEGIN_S = 5.0
# As loud as a quiet room.
NOISE_AMPLITUDE = 0.01


@dataclass
class Heard:
    """What clients saw. Only our own protocols say when a token's step was."""

    tokens: int = 0
    """Pieces of text."""
    after_step_s: list[float] = field(default_factory=list[float])
    """From the end of the step to the client."""
    backlog_s: list[float] = field(default_factory=list[float])
    """Audio that the service had and the model had not heard."""
    errors: list[str] = field(default_factory=list[str])

    def note_text(self) -> None:
        """Text has come, and nothing is said of its step."""
        self.tokens += 1

    def note(self, step_ended_at: float, backlog_s: float) -> None:
        """A token has come."""
        self.tokens += 1
        self.after_step_s.append(time.time() - step_ended_at)
        self.backlog_s.append(backlog_s)


class Streams:
    """Starts so many live streams of `seconds` at `begins_at`; `wait` for what they heard."""

    def __init__(self, protocol: str, address: str, count: int, seconds: float) -> None:
        self.begins_at = time.time() + BEGIN_S
        self.ends_at = self.begins_at + seconds
        sizes = [min(STREAMS_PER_PROCESS, count - n) for n in range(0, count, STREAMS_PER_PROCESS)]
        # Not by a fork: gRPC's threads would not be in it.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(len(sizes), mp_context=context)
        self._running: list[Future[Heard]] = [
            self._pool.submit(run_streams, protocol, address, size, self.begins_at, seconds)
            for size in sizes
        ]

    def wait(self) -> Heard:
        """Everything that all of them heard."""
        together = Heard()
        with self._pool:
            for each in self._running:
                heard = each.result()
                together.tokens += heard.tokens
                together.after_step_s += heard.after_step_s
                together.backlog_s += heard.backlog_s
                together.errors += heard.errors
        return together


def run_streams(protocol: str, address: str, count: int, begins_at: float, seconds: float) -> Heard:
    """The streams of one process."""
    heard = Heard()

    async def stream(audio: AsyncGenerator[bytes]) -> None:
        match protocol:
            case "grpc":
                await _stream_grpc(address, audio, heard)
            case "ws":
                await _stream_websocket(address, audio, heard)
            case other:
                await STREAMS[other](address, audio, heard.note_text)

    async def run() -> None:
        # People do not begin to speak at the same moment.
        starts = [begins_at + MESSAGE_S * n / count for n in range(count)]
        results = await asyncio.gather(
            *(stream(_pace(start, seconds)) for start in starts),
            return_exceptions=True,
        )
        heard.errors += [repr(each) for each in results if isinstance(each, BaseException)]

    asyncio.run(run())
    return heard


async def _pace(start: float, seconds: float) -> AsyncGenerator[bytes]:
    """Noise, a message at a time, when a microphone would have it."""
    noise = np.random.default_rng(seed=1)
    for number in range(round(seconds / MESSAGE_S)):
        await asyncio.sleep(max(0.0, start + number * MESSAGE_S - time.time()))
        yield noise.normal(0, NOISE_AMPLITUDE, MESSAGE_SAMPLES).astype("<f4").tobytes()


async def _stream_grpc(address: str, audio: AsyncGenerator[bytes], heard: Heard) -> None:
    import grpc

    from stt.v1 import stt_pb2, stt_pb2_grpc

    async def requests() -> AsyncGenerator[stt_pb2.StreamingTranscribeRequest]:
        yield stt_pb2.StreamingTranscribeRequest(config=stt_pb2.StreamingConfig())
        async for message in audio:
            yield stt_pb2.StreamingTranscribeRequest(audio=message)

    async with grpc.aio.insecure_channel(address) as channel:
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        async for response in stub.StreamingTranscribe(requests()):
            if response.HasField("token") and response.HasField("step_time"):
                step_ended_at = response.step_time.ToNanoseconds() / 1e9
                heard.note(step_ended_at, response.lag.ToNanoseconds() / 1e9)


async def _stream_websocket(address: str, audio: AsyncGenerator[bytes], heard: Heard) -> None:
    from websockets.asyncio.client import connect

    url = f"ws://{address}/v1/stream?timing=1&events=final,ready"
    async with connect(url, proxy=None, compression=None) as socket:

        async def send() -> None:
            async for message in audio:
                await socket.send(message)
            await socket.send('{"type": "end"}')

        sending = asyncio.create_task(send())
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "token" and "step_time" in message:
                heard.note(message["step_time"], message["lag"])
        await sending


def percentile_ms(values: Sequence[float], percent: float) -> float:
    """Milliseconds; NaN where there is nothing."""
    return float(np.percentile(values, percent)) * 1000 if values else float("nan")
