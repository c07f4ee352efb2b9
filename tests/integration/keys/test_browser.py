"""A browser and keys: it asks its user, and sends what it was told with the page's WebSocket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.keys.keyed import ALICE, CAROL, Keyed
from tests.integration.web.browser import (
    browsers,
    find_context,
    in_the_loop_of_the_browsers,
    needs_chromium,
)

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

# What the page does: WebSocket has no other way to say who somebody is.
OPEN_WEBSOCKET = """
() => new Promise((resolve) => {
  const socket = new WebSocket(`ws://${location.host}/v1/stream?events=ready`);
  socket.onmessage = (message) => { resolve(JSON.parse(message.data).type); socket.close(); };
  socket.onclose = (closed) => resolve(`closed ${closed.code}`);
})
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def closing_browsers() -> AsyncIterator[None]:
    yield
    await browsers.close()


@pytest.mark.parametrize("key", [ALICE, CAROL], ids=["right", "wrong"])
async def test_the_page_and_its_websocket_use_what_the_user_typed(keyed: Keyed, key) -> None:
    typed = {"username": key[0], "password": key[1]}
    async with find_context((), http_credentials=typed) as context:
        page = await context.new_page()
        answers: list[int] = []
        page.on("response", lambda response: answers.append(response.status))
        answer = await page.goto(f"http://{keyed.service.http}/", wait_until="networkidle")
        assert answer is not None
        if key == CAROL:
            assert (answer.status, set(answers)) == (401, {401})
            return
        assert answers
        assert set(answers) <= {200, 304}
        async with asyncio.timeout(30):
            assert await page.evaluate(OPEN_WEBSOCKET) == "ready"
            assert await page.evaluate("fetch('/v1/info').then((it) => it.status)") == 200
