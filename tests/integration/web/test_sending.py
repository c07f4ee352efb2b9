"""What the page sends, against a scripted service: sizes, what comes again, and who is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
import soundfile
from google.protobuf.duration_pb2 import Duration
from playwright.async_api import Page, WebSocket

from client.rpc.endpoint import Endpoint
from stt.v1 import stt_pb2
from tests.integration.gateway.harness import (
    Call,
    Refusal,
    Response,
    ScriptedService,
    free_port,
    run_gateway,
    run_scripted,
)
from tests.integration.web.browser import (
    in_the_loop_of_the_browsers,
    needs_chromium,
    open_page,
    press,
    read_words,
    wait_for_state,
    wait_for_words,
)
from tests.support import MODEL_RATE_HERTZ

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

MAX_MESSAGE_BYTES = 2**20
"""Modal's edge takes messages up to 2 MiB; our clients keep to half of that."""
SAMPLE_BYTES = 4
FRAME_SAMPLES = 1_920
DELAY_S = 0.5
BREAK = Refusal(grpc.StatusCode.UNAVAILABLE, "The server restarts.")


def seconds(value: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(value * 1e6))
    return duration


def say(text: str, start_s: float, end_s: float, base_s: float) -> list[Response]:
    """The token and the word that a model makes of it in a connection that began at `base_s`."""
    start, end = seconds(start_s - base_s), seconds(end_s - base_s)
    heard = seconds(end_s - base_s + 2 * DELAY_S)
    token = stt_pb2.Token(text=f" {text}", start_offset=start)
    word = stt_pb2.Word(text=text, start_offset=start, end_offset=end, confidence=0.9)
    return [
        Response(token=token, processed_offset=heard),
        Response(word=word, processed_offset=heard),
    ]


class BreakingService(ScriptedService):
    """Says ` one` at 8 s and breaks after `break_s` of audio; then says it again, and ` two`."""

    def __init__(self, break_s: float) -> None:
        super().__init__()
        self.break_bytes = round(break_s * MODEL_RATE_HERTZ) * SAMPLE_BYTES
        self.base_s = 0.0
        """Where the second connection has to begin."""

    async def _talk(self, call: Call, requests: Any, context: Any) -> None:
        await context.write(Response(ready=stt_pb2.Ready(delay=seconds(DELAY_S))))
        is_first = len(self.calls) == 1
        async for request in requests:
            call.audio += request.audio
            if is_first and len(call.audio) >= self.break_bytes:
                for response in say("one", 8.0, 8.4, 0.0):
                    await context.write(response)
                await BREAK.apply(context)
        repeated = [say("one", 8.08, 8.48, self.base_s), say("two", 9.0, 9.4, self.base_s)]
        for response in [response for responses in repeated for response in responses]:
            await context.write(response)
        duration = seconds(len(call.audio) / SAMPLE_BYTES / MODEL_RATE_HERTZ)
        await context.write(Response(final=stt_pb2.Final(audio_duration=duration)))


@pytest.fixture(scope="module")
def noise() -> npt.NDArray[np.float32]:
    """Fifty seconds in which each place is known by its samples."""
    random = np.random.default_rng(0)
    return (random.integers(-9_000, 9_000, 50 * MODEL_RATE_HERTZ) / 32_768).astype(np.float32)


@pytest.fixture(scope="module")
def noise_file(noise: npt.NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("noise") / "noise.wav"
    soundfile.write(path, noise, MODEL_RATE_HERTZ, subtype="PCM_16")
    return str(path)


def collect_sizes(page: Page) -> list[list[int]]:
    """The sizes of the binary messages of each connection, as they are sent."""
    connections: list[list[int]] = []

    def follow(websocket: WebSocket) -> None:
        sizes: list[int] = []
        connections.append(sizes)
        websocket.on(
            "framesent", lambda data: sizes.append(0 if isinstance(data, str) else len(data))
        )

    page.on("websocket", follow)
    return connections


async def test_a_broken_connection_goes_on_three_seconds_before_what_is_settled(
    noise: npt.NDArray[np.float32], noise_file: str
) -> None:
    service = BreakingService(break_s=12.0)
    # Heard up to 9.4 s; less the delay and the margin of half a second each, and the context.
    base = round((9.4 - 0.5 - 0.5 - 3.0) * MODEL_RATE_HERTZ) // FRAME_SAMPLES * FRAME_SAMPLES
    service.base_s = base / MODEL_RATE_HERTZ
    async with (
        run_scripted(service) as upstream,
        run_gateway(upstream) as gateway,
        open_page(f"http://{gateway.http}/") as page,
    ):
        connections = collect_sizes(page)
        await page.set_input_files("#file", noise_file)
        await wait_for_words(page, 2)
        await wait_for_state(page, "idle")
        assert await read_words(page) == ["one", "two"]
    _, again = service.calls
    assert np.frombuffer(bytes(again.audio), "<f4") == pytest.approx(noise[base:], abs=1e-4)
    assert max(size for sizes in connections for size in sizes) <= MAX_MESSAGE_BYTES


async def test_what_was_kept_through_a_cold_start_is_sent_in_small_messages(
    noise_file: str, noise: npt.NDArray[np.float32]
) -> None:
    port = free_port()
    service = ScriptedService()
    async with (
        run_gateway(Endpoint.parse(f"127.0.0.1:{port}"), ping_interval_s=0.2) as gateway,
        open_page(f"http://{gateway.http}/") as page,
    ):
        connections = collect_sizes(page)
        await page.set_input_files("#file", noise_file)
        await wait_for_state(page, "warming")
        async with run_scripted(service, port):
            await wait_for_state(page, "idle")
    assert sum(connections[0]) == noise.size * SAMPLE_BYTES
    assert max(connections[0]) <= MAX_MESSAGE_BYTES
    assert len(service.calls[0].audio) == noise.size * SAMPLE_BYTES


@pytest_asyncio.fixture(loop_scope="session")
async def watched() -> AsyncIterator[tuple[ScriptedService, str]]:
    """A service that says who is connected, and the page's address."""
    service = ScriptedService()
    async with run_scripted(service) as upstream, run_gateway(upstream) as gateway:
        yield service, f"http://{gateway.http}/"


async def test_a_page_that_is_reloaded_at_once_leaves_no_call_behind(
    watched: tuple[ScriptedService, str],
) -> None:
    service, url = watched
    async with open_page(url) as page:
        for reload in range(12):
            await press(page)
            if reload % 3:
                await page.wait_for_selector('body:not([data-state="asking"])')
            if reload % 3 == 2:
                await wait_for_state(page, "listening")
            await page.reload()
    # Nobody waits for the idle timeout of ten seconds.
    await asyncio.wait_for(asyncio.gather(*(call.ended.wait() for call in service.calls)), 5.0)
    assert service.calls


async def test_a_page_that_comes_back_from_the_history_is_ready(
    watched: tuple[ScriptedService, str],
) -> None:
    service, url = watched
    async with open_page(url) as page:
        await press(page)
        await wait_for_state(page, "listening")
        await page.evaluate(
            "() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))"
        )
        await wait_for_state(page, "idle")
        await asyncio.wait_for(service.calls[0].ended.wait(), 5.0)
        await press(page)
        await wait_for_state(page, "listening")
