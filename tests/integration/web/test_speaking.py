"""A voice at the microphone becomes text in the page."""

import math
from pathlib import Path

import pytest
from playwright.async_api import Page

from client.scoring import count_word_errors
from tests.integration.web.browser import (
    in_the_loop_of_the_browsers,
    needs_chromium,
    open_page,
    press,
    read_words,
    wait_for_state,
    wait_for_words,
)
from tests.support import Recording, Service

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

MAX_ERRORS = 1
"""The embedded model is small; the page may not lose a word, the model may mishear one."""


async def heard_seconds(page: Page) -> float:
    """How much the microphone has heard, as the page shows it."""
    minutes, seconds = (await page.inner_text("#elapsed")).split(":")
    return 60 * int(minutes) + int(seconds)


@pytest.mark.parametrize("device_rate_hertz", [44_100, 48_000])
async def test_words_appear_while_they_are_spoken(
    service: Service, voice: Path, spoken: Recording, device_rate_hertz: int
) -> None:
    expected = spoken.text.split()
    url = f"http://{service.http}/"
    async with open_page(url, microphone=voice, device_rate_hertz=device_rate_hertz) as page:
        await press(page)
        await wait_for_state(page, "listening")
        await wait_for_words(page, 2)
        assert await heard_seconds(page) < spoken.words[-1].start_s
        await wait_for_words(page, len(expected) - MAX_ERRORS)
        # The pause after the last word gives the line to the screen reader.
        await page.wait_for_selector("#spoken p")
        said = await page.inner_text("#spoken")
        await press(page)
        await wait_for_state(page, "idle")
        words = await read_words(page)
    assert count_word_errors(expected, words) <= MAX_ERRORS
    assert said.split() == words


async def test_a_stop_right_behind_the_last_word_does_not_lose_it(
    service: Service, voice: Path, spoken: Recording
) -> None:
    last = spoken.words[-1]
    async with open_page(f"http://{service.http}/", microphone=voice) as page:
        await press(page)
        await page.wait_for_function(
            "seconds => Number(document.querySelector('#elapsed').textContent.split(':')[1])"
            " >= seconds",
            arg=math.ceil(last.end_s),
        )
        await press(page)
        await wait_for_state(page, "idle")
        assert (await read_words(page))[-1] == last.text


async def test_the_page_says_what_is_served_and_how_far_behind(
    service: Service, voice: Path
) -> None:
    async with open_page(f"http://{service.http}/", microphone=voice) as page:
        await page.wait_for_function(
            "() => document.querySelector('#model').textContent === 'digits'"
        )
        hint = await page.inner_text("#understands")
        assert "spoken English digits" in hint
        assert "try “five nine two seven one three”" in hint
        await press(page)
        await wait_for_words(page, 1)
        await page.wait_for_function(
            "() => /^1 of 8 taken$/.test(document.querySelector('#slots').textContent)"
        )
        assert (await page.inner_text("#latency")).endswith("s behind your voice")
        assert (await page.inner_text("#lag")).endswith(" s")
        loudest = await page.wait_for_function(
            "() => Number(document.querySelector('#meter').getAttribute('aria-valuenow')) > 50"
        )
        assert await loudest.json_value()
        await page.keyboard.press("Escape")
        await wait_for_state(page, "idle")
