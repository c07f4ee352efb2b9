"""The page when something is in its way: nobody loses what was said."""

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from client.rpc.endpoint import Endpoint
from client.scoring import count_word_errors
from tests.integration.gateway.harness import RunningGateway, free_port, run_gateway
from tests.integration.web.browser import (
    in_the_loop_of_the_browsers,
    needs_chromium,
    open_page,
    press,
    read_words,
    wait_for_state,
    wait_for_words,
)
from tests.support import Recording, Service, run_service

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

SLOTS = 8
MAX_ERRORS = 1


async def test_a_refused_microphone(lonely_gateway: RunningGateway) -> None:
    async with open_page(f"http://{lonely_gateway.http}/", refused=True) as page:
        await press(page)
        await wait_for_state(page, "blocked")
        assert "The microphone is blocked" in await page.inner_text("#state")
        assert await page.inner_text("#talk") == "Try again"


async def test_a_missing_microphone(lonely_gateway: RunningGateway) -> None:
    missing = """navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException("none", "NotFoundError");
    };"""
    async with open_page(f"http://{lonely_gateway.http}/", script=missing) as page:
        await press(page)
        await wait_for_state(page, "blocked")
        assert "No microphone was found" in await page.inner_text("#state")


async def test_an_address_that_gets_no_microphone(lonely_gateway: RunningGateway) -> None:
    # Plain http to a name that is not this machine's own, as in a home network.
    name = f"laptop.test:{lonely_gateway.http.rpartition(':')[2]}"
    resolve = ["--host-resolver-rules=MAP laptop.test 127.0.0.1"]
    async with open_page(f"http://{name}/", arguments=resolve) as page:
        await press(page)
        await wait_for_state(page, "blocked")
        assert "No microphone at this address" in await page.inner_text("#state")


async def test_a_server_that_has_gone_when_the_button_is_pressed() -> None:
    async with start_gateway() as (gateway, address), open_page(f"http://{address}/") as page:
        gateway.kill()
        await gateway.wait()
        await press(page)
        await wait_for_state(page, "blocked")
        assert "The server does not answer" in await page.inner_text("#state")


async def test_a_question_for_the_microphone_that_is_cancelled(
    lonely_gateway: RunningGateway,
) -> None:
    slow = """
        const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wanted) => {
            await new Promise((resolve) => (window.answer = resolve));
            return (window.given = await ask(wanted));
        };"""
    async with open_page(f"http://{lonely_gateway.http}/", script=slow) as page:
        await press(page)
        await wait_for_state(page, "asking")
        assert "Please allow it" in await page.inner_text("#state")
        await page.wait_for_function("() => window.answer")
        await page.keyboard.press("Escape")
        await wait_for_state(page, "idle")
        await page.evaluate("() => window.answer()")
        # The answer comes too late: the microphone is let go, and the page stays as it is.
        await page.wait_for_function("() => window.given?.getTracks()[0].readyState === 'ended'")
        assert await page.inner_text("#headline") == "Ready"


async def test_every_slot_taken_and_one_free_again(
    service: Service, voice: Path, spoken: Recording
) -> None:
    async with contextlib.AsyncExitStack() as others:
        for _ in range(SLOTS):
            other = websockets.connect(f"{service.websocket_url}?events=ready")
            connection = await others.enter_async_context(other)
            await connection.recv()
        async with open_page(f"http://{service.http}/", microphone=voice) as page:
            await press(page)
            await wait_for_state(page, "full")
            assert "Every slot is taken" in await page.inner_text("#state")
            await page.wait_for_function(
                "() => document.querySelector('#slots').textContent === '8 of 8 taken'"
            )
            await others.aclose()
            await press(page)
            await wait_for_words(page, 1)
            await press(page)
            await wait_for_state(page, "idle")
            assert (await read_words(page))[0] == spoken.words[0].text


async def test_what_is_said_while_the_model_wakes_up_is_written(
    service: Service, voice: Path, spoken: Recording
) -> None:
    port = free_port()
    upstream = Endpoint.parse(f"127.0.0.1:{port}")
    async with (
        run_gateway(upstream, ping_interval_s=0.2) as gateway,
        open_page(f"http://{gateway.http}/", microphone=voice) as page,
    ):
        await press(page)
        await wait_for_state(page, "warming")
        assert "what you say is kept" in await page.inner_text("#state")
        # The first word has been said when the service appears.
        await page.wait_for_function(
            "() => document.querySelector('#elapsed').textContent >= '0:02'"
        )
        async with forward(port, service.grpc):
            await wait_for_state(page, "listening")
            words = await wait_for_words(page, len(spoken.words) - MAX_ERRORS)
            await press(page)
            await wait_for_state(page, "idle")
            words = await read_words(page)
    assert count_word_errors(spoken.text.split(), words) <= MAX_ERRORS


async def test_nobody_has_to_wait_for_a_lost_connection(voice: Path) -> None:
    async with (
        start_gateway() as (gateway, address),
        open_page(f"http://{address}/", microphone=voice) as page,
    ):
        await press(page)
        await page.wait_for_function(
            "() => document.querySelector('#elapsed').textContent >= '0:01'"
        )
        gateway.kill()
        await wait_for_state(page, "lost")
        # The first press ends the voice, and the page goes on trying; the second gives up.
        await press(page)
        await press(page)
        await wait_for_state(page, "idle")
        await page.wait_for_timeout(500)
        assert await page.inner_text("#headline") == "Ready"


@pytest.mark.slow
async def test_a_microphone_that_is_suspended_goes_on_later(service: Service, voice: Path) -> None:
    """As during a telephone call: the service ends a session that gets no audio for 10 s."""
    keep_context = """window.AudioContext = class extends AudioContext {
        constructor(options) { super(options); window.context = this; }
    };"""
    async with open_page(f"http://{service.http}/", microphone=voice, script=keep_context) as page:
        await press(page)
        before = await wait_for_words(page, 2)
        await page.evaluate("() => context.suspend()")
        await wait_for_state(page, "paused")
        assert (await read_words(page))[: len(before)] == before
        await page.evaluate("() => context.resume()")
        await wait_for_state(page, "listening")
        await press(page)
        await wait_for_state(page, "idle")


@pytest.mark.timeout(300)
async def test_a_server_that_is_killed_and_started_again(voice: Path, spoken: Recording) -> None:
    address = f"127.0.0.1:{free_port()}"
    with run_service("--http", address) as killed:
        async with open_page(f"http://{address}/", microphone=voice) as page:
            await press(page)
            before = await wait_for_words(page, 2)
            killed.process.send_signal(signal.SIGKILL)
            await wait_for_state(page, "lost")
            assert (await read_words(page))[: len(before)] == before
            assert "What you say meanwhile is kept" in await page.inner_text("#state")
            # Starting blocks, and the browser has to be served meanwhile.
            again = run_service("--http", address)
            await asyncio.to_thread(again.__enter__)
            try:
                await wait_for_state(page, "listening")
                await wait_for_words(page, len(spoken.words) - MAX_ERRORS)
                await press(page)
                await wait_for_state(page, "idle")
                words = await read_words(page)
            finally:
                await asyncio.to_thread(again.__exit__, None, None, None)
    assert words[: len(before)] == before
    # The voice on the page's tape went on from the last whole word: none is lost, none is twice.
    assert count_word_errors(spoken.text.split(), words) <= MAX_ERRORS + 1


@contextlib.asynccontextmanager
async def start_gateway() -> AsyncIterator[tuple[Process, str]]:
    """A gateway that can be killed, with nothing behind it, and its HOST:PORT."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway"),
        *("--upstream", f"127.0.0.1:{free_port()}", "--http", "127.0.0.1:0"),
        stdout=PIPE,
    )
    assert process.stdout is not None
    try:
        ready = await process.stdout.readline()
        yield process, ready.decode().removeprefix("ready http=").strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def forward(port: int, address: str) -> AsyncIterator[None]:
    """Let `port` of this machine lead to the address, as if a service had come up there."""
    host, _, target = address.rpartition(":")

    joints: set[asyncio.Task[object]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(target))
        joints.add(asyncio.create_task(carry(reader, inner_writer)))
        joints.add(asyncio.create_task(carry(inner_reader, writer)))

    server = await asyncio.start_server(join, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()
        for joint in joints:
            joint.cancel()
        await asyncio.gather(*joints, return_exceptions=True)
