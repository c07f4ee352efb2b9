"""A recording dropped on the page, and the transcript taken out of it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import soxr
from playwright.async_api import Page

from client.scoring import count_word_errors
from tests.integration.gateway.harness import RunningGateway
from tests.integration.web.browser import (
    drop_file,
    drop_paths,
    in_the_loop_of_the_browsers,
    needs_chromium,
    open_page,
    press,
    read_words,
    wait_for_state,
    wait_for_words,
)
from tests.support import MODEL_RATE_HERTZ, Recording, Service

pytestmark = [needs_chromium, in_the_loop_of_the_browsers]

MAX_ERRORS = 1
LOSSY_RATE_HERTZ = 44_100


@pytest.fixture
def stereo_mp3(spoken: Recording) -> bytes:
    """The recording as most recordings are: MP3, stereo, at 44.1 kHz."""
    mono, rate = soundfile.read(spoken.path, dtype="float32")
    resampled = soxr.resample(mono, rate, LOSSY_RATE_HERTZ)
    file = io.BytesIO()
    soundfile.write(file, np.column_stack([resampled, resampled]), LOSSY_RATE_HERTZ, format="MP3")
    return file.getvalue()


async def test_a_dropped_mp3_is_read_and_taken_away(
    service: Service, stereo_mp3: bytes, spoken: Recording
) -> None:
    clipboard = ["clipboard-read", "clipboard-write"]
    async with open_page(f"http://{service.http}/", permissions=clipboard) as page:
        await drop_file(page, "digits.mp3", "audio/mpeg", stereo_mp3)
        await wait_for_words(page, 1)
        assert await page.inner_text("#headline") in (
            "Transcribing digits.mp3",
            "Finishing",
            "Ready",
        )
        await wait_for_state(page, "idle")
        words = await read_words(page)
        assert count_word_errors(spoken.text.split(), words) <= MAX_ERRORS
        await check_downloads(page, spoken, words)
        await check_clipboard_and_clear(page, words)


async def check_downloads(page: Page, spoken: Recording, words: list[str]) -> None:
    text = await save(page, "txt")
    assert text.split() == words
    srt = await save(page, "srt")
    number, times, *said = srt.splitlines()
    assert number == "1"
    assert " ".join(said).split() == words
    start, end = (read_clock(clock.replace(",", ".")) for clock in times.split(" --> "))
    assert start == pytest.approx(spoken.words[0].start_s, abs=0.3)
    assert end == pytest.approx(spoken.words[-1].end_s, abs=0.6)
    vtt = await save(page, "vtt")
    assert vtt.splitlines() == ["WEBVTT", "", times.replace(",", "."), *said]


async def check_clipboard_and_clear(page: Page, words: list[str]) -> None:
    await page.click("#copy")
    await page.wait_for_selector("#notice:has-text('Copied.')")
    assert (await page.evaluate("() => navigator.clipboard.readText()")).split() == words
    await page.click("#clear")
    await page.wait_for_selector("#welcome", state="visible")
    assert await read_words(page) == []
    await page.click("#clear:has-text('Undo clear')")
    await page.wait_for_selector("#welcome", state="hidden")
    assert await read_words(page) == words


async def test_two_takes_follow_each_other_in_time(service: Service, spoken: Recording) -> None:
    async with open_page(f"http://{service.http}/") as page:
        for _ in range(2):
            await page.set_input_files("#file", spoken.path)
            await page.wait_for_selector('body:not([data-state="idle"])')
            await wait_for_state(page, "idle")
        times = await page.locator("#lines time").all_text_contents()
        # The recording is just under five seconds long, and the first word is at 0.3 s.
        assert times == ["0:00", "0:05"]


async def test_the_voice_is_found_in_any_channel(service: Service, spoken: Recording) -> None:
    async with open_page(f"http://{service.http}/") as page:
        for channels in ([1, -1], [0, 1], [1, -0.9, 0], [0, 0, 1, 0, 0, 0]):
            recording = wav(np.outer(spoken.samples(), channels), MODEL_RATE_HERTZ)
            await drop_file(page, "channels.wav", "audio/wav", recording)
            await page.wait_for_selector('body:not([data-state="idle"])')
            await wait_for_state(page, "idle")
            words = await read_words(page)
            assert count_word_errors(spoken.text.split(), words) <= MAX_ERRORS, channels
            await page.click("#clear")
            await page.wait_for_selector("#welcome", state="visible")


async def test_a_file_that_cannot_be_transcribed(lonely_gateway: RunningGateway) -> None:
    second = np.sin(np.arange(MODEL_RATE_HERTZ, dtype=np.float32))
    undecodable = "has no audio that this browser can decode"
    scaled = "has samples that are far too large or not numbers"
    files = [
        ("notes.txt", b"no sound", undecodable),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(100), undecodable),
        ("cut.mp3", b"ID3\x04\x00", undecodable),
        ("header.wav", wav(second)[:44], undecodable),
        ("empty.wav", b"", "is empty"),
        ("silent.wav", wav(0 * second), "is silent: 1.0 seconds"),
        ("scaled.wav", wav(32_767 * second, subtype="FLOAT"), scaled),
        ("nan.wav", wav(np.full_like(second, np.nan), subtype="FLOAT"), scaled),
    ]
    async with open_page(f"http://{lonely_gateway.http}/") as page:
        for name, content, complaint in files:
            await drop_file(page, name, "", content)
            detail = page.locator("#detail", has_text=f"{name} {complaint}")
            await detail.wait_for()
            await wait_for_state(page, "failed")
            # Not "Try again": the button would open the microphone.
            assert await page.inner_text("#talk") == "Start speaking"


async def test_a_folder_is_no_recording(lonely_gateway: RunningGateway, tmp_path: Path) -> None:
    folder = tmp_path / "interviews"
    folder.mkdir()
    async with open_page(f"http://{lonely_gateway.http}/") as page:
        await drop_paths(page, folder)
        await page.locator("#detail", has_text="interviews cannot be read").wait_for()


async def test_two_files_at_once(lonely_gateway: RunningGateway, voice: Path) -> None:
    async with open_page(f"http://{lonely_gateway.http}/") as page:
        await drop_paths(page, voice, Path(__file__))
        await page.wait_for_selector("#notice:has-text('One recording at a time')")
        assert await page.inner_text("#headline") == "Ready"


async def test_a_recording_without_words(service: Service) -> None:
    hum = 0.05 * np.sin(np.arange(MODEL_RATE_HERTZ) / 40)
    async with open_page(f"http://{service.http}/") as page:
        await drop_file(page, "hum.wav", "audio/wav", wav(hum))
        await page.locator("#detail", has_text="No words were recognized").wait_for()


async def test_a_file_while_the_microphone_is_on(
    lonely_gateway: RunningGateway, voice: Path
) -> None:
    async with open_page(f"http://{lonely_gateway.http}/", microphone=voice) as page:
        await press(page)
        await wait_for_state(page, "warming")
        await page.set_input_files("#file", voice)
        await page.wait_for_selector("#notice:has-text('Stop first')")
        assert await page.inner_text("#headline") == "The model is starting"


def wav(
    samples: npt.NDArray[Any], rate_hertz: int = MODEL_RATE_HERTZ, subtype: str = "PCM_16"
) -> bytes:
    """`[samples]` or `[samples, channels]` as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hertz, format="WAV", subtype=subtype)
    return file.getvalue()


async def save(page: Page, format: str) -> str:
    """Press the button for a format; what the browser saves."""
    async with page.expect_download() as waiting:
        await page.click(f'[data-format="{format}"]')
    download = await waiting.value
    assert download.suggested_filename == f"transcript.{format}"
    return read_text(await download.path())


def read_text(path: Path) -> str:
    return path.read_text()


def read_clock(clock: str) -> float:
    hours, minutes, seconds = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
