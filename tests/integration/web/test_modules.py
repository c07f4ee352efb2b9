"""The page's modules that touch neither sound nor network, run in the browser that runs them."""

import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest_asyncio
from playwright.async_api import Page

from client.rpc.endpoint import Endpoint
from tests.integration.gateway.harness import free_port, run_gateway
from tests.integration.web.browser import in_the_loop_of_the_browsers, needs_chromium, open_page
from tests.support import MODEL_RATE_HERTZ

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

DEVICE_RATES_HERTZ = [
    8_000,
    11_025,
    16_000,
    22_050,
    32_000,
    44_100,
    48_000,
    96_000,
    192_000,
    47_999,
]
EDGE_SAMPLES = MODEL_RATE_HERTZ // 20
MAX_STOPPED_DB = -75.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page() -> AsyncIterator[Page]:
    """One page for all: the modules keep nothing between two calls."""
    upstream = Endpoint.parse(f"127.0.0.1:{free_port()}")
    async with (
        run_gateway(upstream) as gateway,
        open_page(f"http://{gateway.http}/") as page,
    ):
        yield page


async def resample(page: Page, rate_hertz: int, tone_hertz: float) -> npt.NDArray[np.float64]:
    """A tone, pushed in pieces of odd lengths, at the model's rate."""
    samples = await page.evaluate(
        """async ([from, to, tone]) => {
            const { Resampler } = await import("/resampler.js");
            const input = Float32Array.from({ length: Math.ceil(from / 4) },
                (_, i) => Math.sin((2 * Math.PI * tone * i) / from));
            const resampler = new Resampler(from, to);
            const output = [];
            for (let at = 0, length = 1; at < input.length; at += length, length = 7 * length % 997)
                output.push(...resampler.push(input.subarray(at, at + length)));
            return [...output, ...resampler.finish()];
        }""",
        [rate_hertz, MODEL_RATE_HERTZ, tone_hertz],
    )
    return np.array(samples)


def middle(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Without the edges, where the tone begins and ends at once."""
    return samples[EDGE_SAMPLES:-EDGE_SAMPLES]


def decibels(samples: npt.NDArray[np.float64]) -> float:
    return 10 * float(np.log10(np.mean(samples**2) / 0.5 + 1e-20))


async def test_the_resampler_keeps_what_fits_and_stops_the_rest(page: Page) -> None:
    for rate_hertz in DEVICE_RATES_HERTZ:
        nyquist_hertz = min(rate_hertz, MODEL_RATE_HERTZ) / 2
        for tone_hertz in (440.0, 0.88 * nyquist_hertz):
            kept = await resample(page, rate_hertz, tone_hertz)
            assert len(kept) == math.ceil(math.ceil(rate_hertz / 4) * MODEL_RATE_HERTZ / rate_hertz)
            ideal = np.sin(2 * np.pi * tone_hertz * np.arange(len(kept)) / MODEL_RATE_HERTZ)
            # Neither louder, nor later: the difference itself is small.
            assert decibels(middle(kept) - middle(ideal)) < -60.0, (rate_hertz, tone_hertz)
        above_hertz = 1.02 * MODEL_RATE_HERTZ / 2
        if above_hertz < rate_hertz / 2:
            stopped = middle(await resample(page, rate_hertz, above_hertz))
            assert decibels(stopped) < MAX_STOPPED_DB, rate_hertz


async def test_captions_keep_to_what_viewers_can_read(page: Page) -> None:
    words = [
        {"text": f"word{i}", "start": 3_590 + 0.8 * i, "end": 3_590 + 0.8 * i + 0.7}
        for i in range(40)
    ]
    odd = [{"text": "<i>&", "start": 3_700.0, "end": 3_700.1}]
    lines = [{"words": words, "interim": ""}, {"words": odd, "interim": ""}]
    srt, vtt, text = await page.evaluate(
        """async (lines) => {
            const { toSrt, toVtt, toText } = await import("/captions.js");
            return [toSrt(lines), toVtt(lines), toText(lines)];
        }""",
        lines,
    )
    cues = srt.strip().split("\n\n")
    said: list[str] = []
    for number, cue in enumerate(cues, start=1):
        index, times, *rows = cue.split("\n")
        assert index == str(number)
        assert len(rows) <= 2
        assert all(len(row) <= 42 for row in rows)
        said += " ".join(rows).split()
        start, end = times.split(" --> ")
        assert "00:59:50,000" <= start < end
    assert said == [word["text"] for word in [*words, *odd]]
    assert cues[0].split("\n")[1] == "00:59:50,000 --> 00:59:56,300"
    # Too short to be read, so it stays for a second.
    assert cues[-1].split("\n")[1] == "01:01:40,000 --> 01:01:41,000"
    assert vtt.startswith("WEBVTT\n\n00:59:50.000 --> 00:59:56.300\n")
    assert vtt.endswith("\n&lt;i&gt;&amp;\n")
    assert text.splitlines() == [" ".join(word["text"] for word in words), "<i>&"]


async def write_down(page: Page, *calls: tuple[str, Any]) -> list[list[str]]:
    """A transcript after the calls: for each line its whole words, then what is not whole."""
    return await page.evaluate(
        """async (calls) => {
            const { Transcript, lineText } = await import("/transcript.js");
            const transcript = new Transcript();
            for (const [name, ...details] of calls) transcript[name](...details);
            return transcript.lines.map(lineText).map(({ final, interim }) => [final, interim]);
        }""",
        [list(call) for call in calls],
    )


def word(text: str, start: float) -> tuple[str, dict[str, Any]]:
    return ("addWord", {"text": text, "start": start, "end": start + 0.4})


async def test_tokens_become_words_and_pauses_become_lines(page: Page) -> None:
    begun: list[tuple[Any, ...]] = [
        ("addToken", " se", 0.3),
        ("addToken", "ven", 0.3),
        word("seven", 0.3),
        ("addToken", " fo", 1.0),
    ]
    assert await write_down(page, *begun) == [["seven", " fo"]]
    # The pause is known before the text of the last word is: its time says where it belongs.
    paused = [*begun, ("addPause", 3.0), ("addToken", "ur", 1.0), word("four", 1.0)]
    assert await write_down(page, *paused) == [["seven four", ""]]
    resumed = [*paused, ("addPause", 3.2), ("addToken", " six", 4.0)]
    assert await write_down(page, *resumed) == [["seven four", ""], ["", " six"]]
    # The take ended without its end: what is there is kept.
    assert await write_down(page, *resumed, ("close", 5.0)) == [["seven four", ""], ["six", ""]]


async def test_a_model_without_pauses_still_gets_lines(page: Page) -> None:
    spoken: list[tuple[Any, ...]] = [
        ("addToken", " one", 0.0),
        word("one", 0.0),
        ("addToken", " two", 6.0),
    ]
    assert await write_down(page, *spoken) == [["one", ""], ["", " two"]]


async def test_the_tape_reads_what_was_put_on_it(page: Page) -> None:
    answer = await page.evaluate(
        """async () => {
            const { Tape } = await import("/tape.js");
            const tape = new Tape(8);
            tape.append(Float32Array.of(0, 1, 2, 3));
            tape.append(Float32Array.of(4, 5, 6, 7));
            const early = [[...tape.read(1, 2)], [...tape.read(3, 9)], [...tape.read(8, 9)]];
            tape.append(Float32Array.of(8, 9, 10, 11));
            const late = [tape.start, tape.end, [...tape.read(tape.start, 2)]];
            tape.forget(10);
            return [early, late, tape.start, [...tape.read(10, 9)]];
        }"""
    )
    assert answer == [[[1, 2], [3], []], [4, 12, [4, 5]], 8, [10, 11]]
