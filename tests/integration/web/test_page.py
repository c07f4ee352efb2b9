"""What the page is made of: light, from one origin, for every reader, and without secrets."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, Response, WebSocket

from client.rpc.channel import Credentials, Endpoint
from gateway.server import WEB_FOLDER
from tests.integration.gateway.harness import RunningGateway, free_port, run_gateway
from tests.integration.web.browser import (
    in_the_loop_of_the_browsers,
    needs_chromium,
    open_page,
    press,
    wait_for_state,
    wait_for_words,
)
from tests.support import Recording, Service

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

MAX_BYTES = 100_000
PHONE = {"width": 360, "height": 640}


async def find_violations(page: Page) -> list[str]:
    results = await Axe().run(page)
    return [
        f"{violation['id']}: {node['html']} {node['failureSummary']}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation(
    service: Service, spoken: Recording, scheme: Literal["light", "dark"]
) -> None:
    url = f"http://{service.http}/"
    async with open_page(url, color_scheme=scheme, reduced_motion="reduce") as page:
        assert await find_violations(page) == []
        await page.set_input_files("#file", spoken.path)
        await wait_for_words(page, 1)
        await wait_for_state(page, "idle")
        assert await find_violations(page) == []
        await page.set_viewport_size(PHONE)
        await page.set_input_files(
            "#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no sound"}
        )
        await wait_for_state(page, "failed")
        assert await find_violations(page) == []
        # Nothing is wider than a telephone.
        assert await page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]


async def test_it_is_light_and_comes_from_its_own_origin(
    lonely_gateway: RunningGateway, voice: Path
) -> None:
    origin = f"http://{lonely_gateway.http}"
    bodies: dict[str, int] = {}
    async with open_page("about:blank", microphone=voice) as page:

        async def weigh(response: Response) -> None:
            bodies[response.url] = len(await response.body()) if response.ok else 0

        page.on("response", weigh)
        await page.goto(origin)
        await press(page)
        await wait_for_state(page, "warming")
    strangers = {
        url for url in bodies if f"{urlsplit(url).scheme}://{urlsplit(url).netloc}" != origin
    }
    assert strangers == set()
    assert bodies[f"{origin}/app.js"] > 0
    # Everything counts: the browser does not report what it loads for the audio thread.
    assert sum(bodies.values()) <= weigh_folder() < MAX_BYTES


def weigh_folder() -> int:
    return sum(path.stat().st_size for path in WEB_FOLDER.iterdir())


async def test_nothing_inline_runs(lonely_gateway: RunningGateway) -> None:
    policy = (await lonely_gateway.get("/")).headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    async with open_page(f"http://{lonely_gateway.http}/") as page:
        inline = "script:not([src]), style, [style], [onclick], [onload]"
        assert await page.locator(inline).count() == 0


async def test_the_keyboard_reaches_everything(service: Service, spoken: Recording) -> None:
    async with open_page(f"http://{service.http}/") as page:
        await page.set_input_files("#file", spoken.path)
        await wait_for_words(page, 1)
        await wait_for_state(page, "idle")
        reached: list[str] = []
        for _ in range(7):
            await page.keyboard.press("Tab")
            reached.append(
                await page.evaluate(
                    "() => document.activeElement.id || document.activeElement.dataset.format"
                )
            )
        assert reached == ["talk", "file", "copy", "txt", "srt", "vtt", "clear"]
        await page.keyboard.press("Enter")
        await page.wait_for_selector("#welcome", state="visible")


async def test_no_key_of_the_gateway_reaches_the_page(voice: Path) -> None:
    credentials = Credentials("wk-the-key", "ws-the-secret")
    upstream = Endpoint.parse(f"https://127.0.0.1:{free_port()}", credentials)
    seen: list[str] = []
    async with (
        run_gateway(upstream, ping_interval_s=0.2, patience_s=1.0) as gateway,
        open_page("about:blank", microphone=voice) as page,
    ):
        page.on("response", lambda response: keep(response, seen))
        page.on("websocket", lambda websocket: hear(websocket, seen))
        await page.goto(f"http://{gateway.http}/")
        await press(page)
        await wait_for_state(page, "failed")
        seen.append(await page.content())
    everything = " ".join(str(text) for text in seen)
    assert "v1/stream?events=" in everything
    assert '"type": "error"' in everything
    assert "the-key" not in everything
    assert "the-secret" not in everything


def hear(websocket: WebSocket, seen: list[str]) -> None:
    seen.append(websocket.url)
    websocket.on("framereceived", lambda payload: seen.append(str(payload)))


async def keep(response: Response, seen: list[str]) -> None:
    seen.append(response.url)
    seen.append(str(response.headers))
    if response.ok:
        seen.append(await response.text())


@pytest.fixture
def other_site(tmp_path: Path) -> Iterator[str]:
    """The address of a page of somebody else's."""
    (tmp_path / "index.html").write_text("<!doctype html><title>Another site</title>")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *arguments: object) -> None:
            del format, arguments

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


async def test_the_page_of_another_origin_cannot_connect(
    lonely_gateway: RunningGateway, other_site: str
) -> None:
    connect = """url => new Promise((resolve) => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("refused");
    })"""
    url = f"ws://{lonely_gateway.http}/v1/stream"
    async with open_page(other_site) as stranger:
        assert await stranger.evaluate(connect, url) == "refused"
    async with open_page(f"http://{lonely_gateway.http}/") as page:
        assert await page.evaluate(connect, url) == "open"
