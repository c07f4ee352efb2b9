"""A real Chromium with a microphone that plays a file, and the page in it."""

import base64
import contextlib
import shutil
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Playwright, async_playwright

CHROMIUM = shutil.which("chromium") or ""
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="chromium is not installed; on Debian: apt-get install chromium"
)
in_the_loop_of_the_browsers = pytest.mark.asyncio(loop_scope="session")
"""Tests share browsers, which belong to one event loop."""

PATIENCE_MS = 60_000
"""How long a condition may take on a loaded machine. No test waits longer than it must."""

QUIET_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

ANCHOR_URL = "http://127.0.0.1/anchor"


class Browsers:
    """Chromiums, one for each set of switches, started when first asked for.

    Most of what a page costs is the start of a process that renders it. So each browser has a
    context in which a page of the same site stays open, and keeps that process.
    """

    def __init__(self) -> None:
        self._contexts: dict[frozenset[str], BrowserContext] = {}
        self._stack = contextlib.AsyncExitStack()
        self._playwright: Playwright | None = None

    async def find_context(self, switches: Sequence[str]) -> BrowserContext:
        """The shared context of the browser with these switches."""
        key = frozenset(switches)
        if key not in self._contexts:
            self._contexts[key] = await self._launch(switches)
        return self._contexts[key]

    async def _launch(self, switches: Sequence[str]) -> BrowserContext:
        if self._playwright is None:
            self._playwright = await self._stack.enter_async_context(async_playwright())
        browser = await self._playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*QUIET_ARGUMENTS, *switches]
        )
        self._stack.push_async_callback(browser.close)
        context = await browser.new_context()
        anchor = await context.new_page()
        await anchor.route(ANCHOR_URL, lambda route: route.fulfill(body=""))
        await anchor.goto(ANCHOR_URL)
        return context

    async def close(self) -> None:
        """End all of them."""
        self._contexts.clear()
        self._playwright = None
        await self._stack.aclose()


browsers = Browsers()
"""Of this test process; the conftest closes them."""


@contextlib.asynccontextmanager
async def find_context(switches: Sequence[str], **options: Any) -> AsyncIterator[BrowserContext]:
    """The shared context of a browser, or with options one that ends with the block."""
    shared = await browsers.find_context(switches)
    if not options:
        yield shared
        return
    assert shared.browser is not None
    async with await shared.browser.new_context(**options) as context:
        yield context


@contextlib.asynccontextmanager
async def open_page(
    url: str,
    *,
    microphone: Path | None = None,
    refused: bool = False,
    device_rate_hertz: int | None = None,
    script: str = "",
    arguments: Sequence[str] = (),
    **context_options: Any,
) -> AsyncIterator[Page]:
    """The page at `url` in a browser; fails if the page has a fault of its own.

    `microphone` is a WAV file that the microphone plays once, from when it is opened; `refused`
    denies it. `device_rate_hertz` is the rate of the audio device, instead of Chromium's own fake.
    `script` runs before the page's own; `arguments` are more of Chromium's.
    """
    switches = [*arguments, "--use-fake-device-for-media-stream"]
    switches.append("--use-fake-ui-for-media-stream" + ("=deny" if refused else ""))
    if microphone is not None:
        switches.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    if device_rate_hertz is not None:
        script += _force_rate(device_rate_hertz)
    faults: list[str] = []
    async with (
        find_context(switches, **context_options) as context,
        await context.new_page() as page,
    ):
        page.set_default_timeout(PATIENCE_MS)
        await page.add_init_script(script)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda message: faults.extend(_find_fault(message)))
        await page.goto(url)
        yield page
    assert faults == []


async def press(page: Page) -> None:
    """Press the one button."""
    await page.click("#talk")


async def wait_for_state(page: Page, state: str) -> None:
    """Wait until the page is in the state."""
    await page.wait_for_selector(f'body[data-state="{state}"]')


async def read_words(page: Page) -> list[str]:
    """The words on the sheet."""
    return " ".join(await page.locator("#lines p").all_text_contents()).split()


async def wait_for_words(page: Page, count: int) -> list[str]:
    """Wait until that many words are on the sheet; all words that are there then."""
    await page.wait_for_function(
        """count => [...document.querySelectorAll("#lines p")]
            .flatMap(line => line.textContent.split(/\\s+/).filter(Boolean)).length >= count""",
        arg=count,
    )
    return await read_words(page)


async def drop_file(page: Page, name: str, kind: str, content: bytes) -> None:
    """Drop a file onto the page, as a hand with a mouse does."""
    transfer = await page.evaluate_handle(
        """([name, type, bytes]) => {
            const transfer = new DataTransfer();
            const content = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
            transfer.items.add(new File([content], name, { type }));
            return transfer;
        }""",
        [name, kind, base64.b64encode(content).decode()],
    )
    for event in ("dragenter", "dragover", "drop"):
        await page.dispatch_event("#sheet", event, {"dataTransfer": transfer})


async def drop_paths(page: Page, *paths: Path) -> None:
    """Drop files or folders of the disk onto the page, as a file manager does."""
    session = await page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for event in ("dragEnter", "dragOver", "drop"):
        place = {"type": event, "x": 50, "y": 50, "data": data}
        await session.send("Input.dispatchDragEvent", place)


def _find_fault(message: ConsoleMessage) -> list[str]:
    """Complaints of the security policy; a lost connection is no fault of the page."""
    text = message.text
    return [text] if "Content Security Policy" in text else []


def _force_rate(rate_hertz: int) -> str:
    return f"""
        window.AudioContext = class extends AudioContext {{
            constructor(options) {{ super({{ ...options, sampleRate: {rate_hertz} }}); }}
        }};
    """
