"""Random, valid and mutated messages to every method: each is answered, and none is our fault."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from stt.nvidia_riva import riva_asr_pb2
from stt.v1 import stt_pb2
from tests.integration.mutation import mutate
from tests.integration.server.calls import Request
from tests.integration.server.raw_http2 import (
    CHECK,
    GET_INFO,
    REFLECTION,
    RIVA_RECOGNIZE,
    RIVA_STREAMING,
    STREAMING,
    TRANSCRIBE,
    connect,
    frame,
)
from tests.support import run_service

RivaRequest = riva_asr_pb2.StreamingRecognizeRequest
WAV_HEADER = bytes.fromhex(
    "52494646 ffffffff 57415645 666d7420 10000000 0100 0100 401f0000 803e0000 0200 1000"
    "64617461 ffffffff"
)
LIST = "/grpc.health.v1.Health/List"
METHODS = (
    *(STREAMING, STREAMING, STREAMING, TRANSCRIBE, GET_INFO, CHECK, LIST, REFLECTION, b"/\xff"),
    *(RIVA_STREAMING, RIVA_STREAMING, RIVA_RECOGNIZE),
)
CALLS_A_CONNECTION = 50
TELL_EVERY = 10_000
UNKNOWN, INTERNAL = "2", "13"
NUMBERS = (0.0, 0.5, 2.0, 9.0, -1.0, float("nan"), float("inf"), 1e300)
SECONDS = (0, 1, 600, 601, -1, 2**62, -(2**63))
NAMES = ("", "x", "\0", "a.b.c", "stt.v1.SpeechToTextService", "google.protobuf.Duration")


class Inventor:
    """Makes up what is sent; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def method(self) -> str | bytes:
        return self._random.choice(METHODS)

    def body(self, method: str | bytes) -> bytes:
        """The body of a call: some messages, each of them mutated now and then."""
        first = self._first_message(method)
        make_more = {STREAMING: self._request, RIVA_STREAMING: self._riva_request}.get(method)
        more = [make_more() for _ in range(self._random.randrange(3))] if make_more else []
        messages = [first, *more]
        return b"".join(frame(mutate(self._random, message)) for message in messages)

    def _first_message(self, method: str | bytes) -> bytes:
        if self._random.random() < 0.1:
            return self._random.randbytes(self._random.randrange(200))
        match method:
            case "/stt.v1.SpeechToTextService/StreamingTranscribe":
                message = Request(config=self._config())
            case "/stt.v1.SpeechToTextService/Transcribe":
                audio = self._random.randbytes(self._random.randrange(2000))
                message = stt_pb2.TranscribeRequest(config=self._config(), audio=audio)
            case "/nvidia.riva.asr.RivaSpeechRecognition/StreamingRecognize":
                streaming = riva_asr_pb2.StreamingRecognitionConfig(config=self._riva_config())
                message = RivaRequest(streaming_config=streaming)
            case "/nvidia.riva.asr.RivaSpeechRecognition/Recognize":
                config, audio = self._riva_config(), self._riva_audio()
                message = riva_asr_pb2.RecognizeRequest(config=config, audio=audio)
            case "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo":
                asked = {self._random.choice(REFLECTED): self._random.choice(NAMES)}
                message = reflection_pb2.ServerReflectionRequest(**asked)
            case _:
                message = health_pb2.HealthCheckRequest(service=self._random.choice(NAMES))
        return message.SerializeToString()

    def _config(self) -> stt_pb2.StreamingConfig:
        pick = self._random.choice
        config = stt_pb2.StreamingConfig(
            encoding=pick((0, 1, 2, 3, 4, 77, -1)),
            sample_rate_hertz=pick((0, 0, 8000, 16_000, 1, 2**31 - 1)),
            events=[pick((0, 1, 2, 99, -5)) for _ in range(self._random.randrange(3))],
        )
        if self._random.random() < 0.3:
            config.vad.pause_seconds = pick(NUMBERS)
            config.vad.threshold = pick(NUMBERS)
        if self._random.random() < 0.3:
            config.idle_timeout.CopyFrom(Duration(seconds=pick(SECONDS), nanos=pick((0, -1))))
            config.stall_timeout.CopyFrom(Duration(seconds=pick(SECONDS), nanos=pick((0, 1))))
        return config

    def _request(self) -> bytes:
        kind = self._random.choice(("audio", "audio", "ogg", "flush", "config", "nothing"))
        noise = self._random.randbytes(self._random.randrange(3000))
        match kind:
            case "audio":
                request = Request(audio=noise)
            case "ogg":
                request = Request(audio=b"OggS" + noise)
            case "flush":
                request = Request(flush=stt_pb2.Flush(flush_id=self._random.choice(NAMES) * 99))
            case "config":
                request = Request(config=self._config())
            case _:
                request = Request()
        return request.SerializeToString()

    def _riva_config(self) -> riva_asr_pb2.RecognitionConfig:
        pick = self._random.choice
        return riva_asr_pb2.RecognitionConfig(
            encoding=pick((0, 0, 1, 2, 3, 4, 20, 77, -1)),
            sample_rate_hertz=pick((0, 8000, 16_000, 1, -1, 2**31 - 1)),
            audio_channel_count=pick((0, 1, 1, 2, -1)),
            endpointing_config={"stop_history": pick((0, 1, 320, -(2**31), 2**31 - 1))},
        )

    def _riva_audio(self) -> bytes:
        beginning = self._random.choice((b"", b"", b"RIFF", WAV_HEADER, b"OggS", b"fLaC"))
        return beginning + self._random.randbytes(self._random.randrange(3000))

    def _riva_request(self) -> bytes:
        if self._random.random() < 0.1:
            return RivaRequest().SerializeToString()
        return RivaRequest(audio_content=self._riva_audio()).SerializeToString()


REFLECTED = ("file_by_filename", "file_containing_symbol", "all_extension_numbers_of_type")


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server's address and log."""
    path = tmp_path_factory.mktemp("fuzzed") / "log"
    with path.open("w") as log, run_service("--no-gateway", log=log) as service:
        yield service.grpc, path


@pytest.mark.parametrize(
    "calls", [400, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
async def test_no_call_is_our_fault(
    fuzzed: tuple[str, Path], tell: Callable[[str], None], calls: int
) -> None:
    address, log = fuzzed
    seed = random.randrange(2**32)
    inventor = Inventor(seed)
    statuses: Counter[str] = Counter()

    async def call_from_one_connection() -> None:
        async with connect(address) as caller:
            for _ in range(CALLS_A_CONNECTION):
                method = inventor.method()
                body = inventor.body(method)
                call = caller.call(method)
                caller.send(call, body, end=True)
                answer = await asyncio.wait_for(caller.answer(call), 60)
                assert answer.get("grpc-status") not in (None, UNKNOWN, INTERNAL), (
                    f"{answer} to {body!r} at {method!r}, seed {seed}"
                )
                statuses[answer["grpc-status"]] += 1
                if statuses.total() % TELL_EVERY == 0:
                    tell(f"{statuses.total():,} calls, by status {dict(statuses)}")

    for _ in range(calls // (4 * CALLS_A_CONNECTION)):
        await asyncio.gather(*(call_from_one_connection() for _ in range(4)))
    assert statuses["0"] and statuses["3"], statuses
    assert "Traceback" not in log.read_text()
