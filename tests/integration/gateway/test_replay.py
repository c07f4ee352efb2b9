"""A call that breaks under a living gateway: a client that cannot send again loses no word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
import websockets
from google.protobuf.duration_pb2 import Duration
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stt.v1 import stt_pb2
from tests.integration.gateway.harness import (
    Call,
    Ended,
    Refusal,
    Response,
    RunningGateway,
    ScriptedService,
    free_port,
    read_to_close,
    read_until,
    run_gateway,
    run_scripted,
)

RATE = 24_000
SECONDS = 12
WORDS = [str(number) for number in range(SECONDS)]
DELAY_S = 0.5
END = '{"type":"end"}'
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "Stream removed (Socket closed)")
DRAINED = Refusal(grpc.StatusCode.UNAVAILABLE, "the server is shutting down", "DRAINING", 0.1)
DIED = Refusal(grpc.StatusCode.INTERNAL, "the model thread died", "ENGINE_DIED")
IDLE = Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "no audio for 10 s", "IDLE_TIMEOUT")
# In second n every sample has the value n / 100; the word n is spoken from n + 0.2 to n + 0.8.
AUDIO = np.repeat(np.arange(SECONDS, dtype=np.float32) / 100, RATE)


def duration(seconds: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(round(seconds * 1e9))
    return made


class SpeakingService(ScriptedService):
    """Says the words of AUDIO with their times, as a real service would; breaks as it is told.

    `cuts` are seconds of audio in one call, each with how it ends; they are used up one by one.
    """

    def __init__(self, sample_type: str = "<f4", scale: float = 1.0) -> None:
        super().__init__()
        self.cuts: list[tuple[float, Refusal]] = []
        self._type = np.dtype(sample_type)
        self._scale = scale

    async def _talk(self, call: Call, requests: Any, context: Any) -> None:
        said = 0
        cut = self.cuts.pop(0) if self.cuts else None
        async for request in requests:
            if request.HasField("flush"):
                flushed = stt_pb2.Flushed(flush_id=request.flush.flush_id)
                await context.write(Response(flushed=flushed))
                continue
            call.audio += request.audio
            heard_s = len(call.audio) / self._type.itemsize / RATE
            for token, word in self._words(call)[said:]:
                if word.end_offset.ToNanoseconds() / 1e9 + DELAY_S > heard_s:
                    break
                said += 1
                heard = duration(heard_s)
                await context.write(Response(token=token, processed_offset=heard))
                await context.write(Response(word=word, processed_offset=heard))
            if cut is not None and heard_s >= cut[0]:
                if cut[1] in (DRAINED, IDLE):
                    # It says every whole word that it has heard before its `final`.
                    await self._say(call, said, context)
                    await context.write(self._final(call))
                await cut[1].apply(context)
        await self._say(call, said, context)
        await context.write(self._final(call))

    async def _say(self, call: Call, said: int, context: Any) -> None:
        for token, word in self._whole_words(call)[said:]:
            await context.write(Response(token=token))
            await context.write(Response(word=word))

    def _whole_words(self, call: Call) -> list[tuple[stt_pb2.Token, stt_pb2.Word]]:
        heard = duration(len(call.audio) / self._type.itemsize / RATE).ToNanoseconds()
        return [each for each in self._words(call) if each[1].end_offset.ToNanoseconds() <= heard]

    def _words(self, call: Call) -> list[tuple[stt_pb2.Token, stt_pb2.Word]]:
        whole = len(call.audio) // self._type.itemsize * self._type.itemsize
        samples = np.frombuffer(bytes(call.audio[:whole]), self._type).astype(float) / self._scale
        starts = np.flatnonzero(np.diff(samples, prepend=-1.0))
        found: list[tuple[stt_pb2.Token, stt_pb2.Word]] = []
        for start in starts:
            number = round(float(samples[start]) * 100)
            # A call that begins in the middle of a second hears its word if it begins before it.
            shift_s = 1.0 - float(starts[1]) / RATE if start == 0 and len(starts) > 1 else 0.0
            if start == 0 and (len(starts) == 1 or shift_s > 0.2):
                continue
            start_s = start / RATE - shift_s + 0.2
            times = {"start_offset": duration(start_s)}
            word = stt_pb2.Word(text=str(number), end_offset=duration(start_s + 0.6), **times)
            found.append((stt_pb2.Token(text=f" {number}", **times), word))
        return found

    def _final(self, call: Call) -> Response:
        words = [word for _, word in self._whole_words(call)]
        seconds = duration(len(call.audio) / self._type.itemsize / RATE)
        transcript = "".join(f" {word.text}" for word in words)
        final = stt_pb2.Final(transcript=transcript, words=words, audio_duration=seconds)
        return Response(final=final)


async def speak(gateway: RunningGateway, query: str, audio: bytes, piece: int) -> Ended:
    """Send the audio in pieces and an end; all that came back."""
    async with gateway.connect(query) as websocket:
        reading = asyncio.create_task(read_to_close(websocket))
        # What came says why, if the session ends before its audio does.
        with contextlib.suppress(websockets.ConnectionClosed):
            for start in range(0, len(audio), piece):
                await websocket.send(audio[start : start + piece])
                await asyncio.sleep(0)
            await websocket.send(END)
        return await reading


def check(ended: Ended) -> None:
    assert ended.text.split() == WORDS
    assert ended.code == 1000, ended
    words = [message for message in ended.messages if message["type"] == "word"]
    assert [word["text"] for word in words] == WORDS
    assert [round(word["start"], 2) for word in words] == [n + 0.2 for n in range(SECONDS)]
    final = ended.messages[-1]
    assert final["type"] == "final"
    assert final["transcript"].split() == WORDS
    assert [word["text"] for word in final["words"]] == WORDS
    assert final["audio_duration"] == SECONDS
    assert ended.kinds.count("ready") == 1


@given(
    cuts=st.lists(
        st.tuples(st.floats(0.0, SECONDS), st.sampled_from([BROKEN, DRAINED, DIED, IDLE])),
        min_size=1,
        max_size=3,
    )
)
@example(cuts=[(12.0, IDLE)])
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_client_that_asks_for_everything_notices_no_break(cuts: list[tuple[float, Refusal]]):
    async def serve() -> None:
        service = SpeakingService()
        service.cuts = list(cuts)
        async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
            query = "?events=ready,word,flushed,final&timing=1"
            check(await speak(gateway, query, AUDIO.tobytes(), 7680))

    asyncio.run(serve())


@pytest.mark.parametrize(
    ("query", "sample_type", "scale"),
    [("", "<f4", 1.0), ("?encoding=pcm_s16le", "<i2", 32768.0)],
)
async def test_a_documented_client_loses_no_word(query: str, sample_type: str, scale: float):
    service = SpeakingService(sample_type, scale)
    service.cuts = [(3.3, BROKEN), (5.1, DRAINED)]
    audio = (AUDIO * scale).astype(sample_type).tobytes()
    async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
        ended = await speak(gateway, query, audio, 7001)
        metrics = await gateway.metrics()
    assert ended.text.split() == WORDS
    assert set(ended.kinds) <= {"token", "ping"}
    assert ended.code == 1000
    assert metrics["stt_gateway_replays_total"] == 2


@pytest.fixture
async def gone() -> AsyncIterator[int]:
    yield free_port()


async def test_pings_come_while_the_service_is_away_and_then_all_words(gone: int):
    service = SpeakingService()
    async with run_scripted(service, gone) as endpoint:
        context = run_gateway(endpoint, ping_interval_s=0.1)
        gateway = await context.__aenter__()
        websocket = await gateway.connect()
        await websocket.send(AUDIO[: 5 * RATE].tobytes())
        await read_until(websocket, "token")
    told = [await read_until(websocket, "ping")]
    await websocket.send(AUDIO[5 * RATE :].tobytes())
    await websocket.send(END)
    async with run_scripted(service, gone):
        ended = await read_to_close(websocket)
    await context.__aexit__(None, None, None)
    assert told
    assert ended.code == 1000
    # Of the first call's words, some came before the ping.
    words = ended.text.split()
    assert words == WORDS[len(WORDS) - len(words) :]
    assert len(words) >= SECONDS - 5


async def test_a_session_that_breaks_again_and_again_fails():
    service = SpeakingService()
    service.cuts = [(2.0, BROKEN)] * 20
    async with run_scripted(service) as endpoint, run_gateway(endpoint) as gateway:
        ended = await speak(gateway, "?events=", AUDIO.tobytes(), 7680)
    assert (ended.code, ended.messages[-1]["reason"]) == (1013, "UPSTREAM_UNAVAILABLE")
    assert len(service.calls) < 12


async def test_ogg_opus_is_not_replayed():
    """It cannot be cut at any place."""
    service = ScriptedService()
    service.failure, service.fail_after_bytes = BROKEN, 4
    async with (
        run_scripted(service) as endpoint,
        run_gateway(endpoint) as gateway,
        gateway.connect("?encoding=ogg_opus") as websocket,
    ):
        await websocket.send(b"OggS")
        ended = await read_to_close(websocket)
    assert ended.code == 1013
    assert len(service.calls) == 1
