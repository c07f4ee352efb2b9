"""Live streams against a running server, in processes of their own: what the clients cost is not
what is measured."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from stt_service.bench.other_protocols import RATE_HERTZ, STREAMS
from stt_service.process.environment import InvalidSetting

Samples = npt.NDArray[np.float32]
Read = Callable[..., tuple[Samples, int]]

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
    """Starts so many live streams of `seconds` at `begins_at`; `wait` for what they heard.

    Each says the recordings in the folder `speech` over and over, or else sends noise.
    """

    def __init__(
        self, protocol: str, address: str, count: int, seconds: float, speech: Path | None = None
    ) -> None:
        self.begins_at = time.time() + BEGIN_S
        self.ends_at = self.begins_at + seconds
        sizes = [min(STREAMS_PER_PROCESS, count - n) for n in range(0, count, STREAMS_PER_PROCESS)]
        # Not by a fork: gRPC's threads would not be in it.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(len(sizes), mp_context=context)
        self._running: list[Future[Heard]] = [
            self._pool.submit(
                run_streams, protocol, address, size, self.begins_at, seconds, speech, number
            )
            for number, size in enumerate(sizes)
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


def run_streams(
    protocol: str,
    address: str,
    count: int,
    begins_at: float,
    seconds: float,
    speech: Path | None,
    seed: int,
) -> Heard:
    """The streams of one process."""
    heard = Heard()
    random = np.random.default_rng(seed)
    recordings = read_recordings(speech) if speech else None

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
        audios = [make_audio(seconds, recordings, random) for _ in starts]
        results = await asyncio.gather(
            *(stream(_pace(start, audio)) for start, audio in zip(starts, audios, strict=True)),
            return_exceptions=True,
        )
        heard.errors += [repr(each) for each in results if isinstance(each, BaseException)]

    asyncio.run(run())
    return heard


def read_recordings(folder: Path) -> list[Samples]:
    """The WAV files of a folder, at the model's rate. Raises InvalidSetting."""
    import sphn

    recordings: list[Samples] = []
    for path in sorted(folder.glob("*.wav")):
        try:
            read = cast(Read, sphn.read)  # pyright: ignore[reportUnknownMemberType]
            channels, _ = read(str(path), sample_rate=RATE_HERTZ)
        except ValueError as error:
            raise InvalidSetting(f"{path} is no recording: {error}") from error
        recordings.append(channels[0])
    if not recordings:
        raise InvalidSetting(f"no WAV files in {folder}")
    return recordings


def make_audio(
    seconds: float, recordings: Sequence[Samples] | None, random: np.random.Generator
) -> Samples:
    """Recordings in an order of their own, or noise, in whole messages."""
    samples = round(seconds / MESSAGE_S) * MESSAGE_SAMPLES
    if recordings is None:
        return random.normal(0, NOISE_AMPLITUDE, samples).astype(np.float32)
    chosen: list[Samples] = []
    while sum(map(len, chosen)) < samples:
        chosen.append(recordings[int(random.integers(len(recordings)))])
    return np.concatenate(chosen)[:samples]


async def _pace(start: float, audio: Samples) -> AsyncGenerator[bytes]:
    """A message at a time, when a microphone would have it."""
    for number, message in enumerate(audio.reshape(-1, MESSAGE_SAMPLES)):
        await asyncio.sleep(max(0.0, start + number * MESSAGE_S - time.time()))
        yield message.tobytes()


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
