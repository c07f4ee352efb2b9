"""Recordings out of pipes: while they are written, when they are stopped, and what stays open."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from client.audio import FileSource
from client.options import SAMPLE_RATE_HERTZ
from tests.odd_recordings import (
    encode,
    int16_bytes,
    speech,
    wav_header,
)
from tests.unit.client.hearing import assert_is, hear, pipe_with


async def test_a_pipe_is_heard_while_it_is_written() -> None:
    reading, writing = os.pipe()
    source = FileSource(reading)
    data = int16_bytes(speech(4.0))
    os.write(writing, wav_header(0xFFFFFFFF) + data[:6_400])
    # A fifth of a second was written; nothing more comes until it was heard.
    blocks = aiter(source)
    heard = len(await anext(blocks))
    assert heard
    os.write(writing, data[6_400:])
    os.close(writing)
    heard += sum([len(block) async for block in blocks])
    os.close(reading)

    assert heard == 4 * SAMPLE_RATE_HERTZ


@pytest.mark.parametrize("after_bytes", [0, 20, 32_044])
async def test_a_pipe_that_is_stopped_gives_what_came(after_bytes: int) -> None:
    reading, writing = os.pipe()
    source = FileSource(reading)
    os.write(writing, (wav_header(0xFFFFFFFF) + int16_bytes(speech()))[:after_bytes])
    waiting = asyncio.create_task(source.wait_for_audio())
    if after_bytes == 32_044:
        assert await waiting
    source.stop()
    if after_bytes != 32_044:
        assert not await waiting
        heard = np.zeros(0)
    else:
        heard, complaint = await hear(source)
        assert complaint == ""
    os.close(writing)
    os.close(reading)

    assert len(heard) <= SAMPLE_RATE_HERTZ


async def test_a_named_pipe_is_opened_once_and_waits_for_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    source = FileSource(path)
    hearing = asyncio.create_task(hear(source))

    def write() -> None:
        with path.open("wb") as file:
            file.write(encode("flac", speech()))

    await asyncio.to_thread(write)
    heard, complaint = await hearing
    assert complaint == ""
    assert_is(heard, speech())


async def test_a_named_pipe_that_nobody_opens_can_be_stopped(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    source = FileSource(path)
    waiting = asyncio.create_task(source.wait_for_audio())
    await asyncio.sleep(0)
    source.stop()

    assert not await waiting
    # Release the thread, which still waits for a writer.
    os.close(os.open(path, os.O_WRONLY))


async def test_pipes_leave_nothing_open() -> None:
    await asyncio.to_thread(len, "")
    # What earlier tests in this process left to the collector and to their threads goes first.
    await release_readers()
    before = len(os.listdir("/proc/self/fd"))
    for kind in ("wav", "m4a", "mp3"):
        with pipe_with(encode(kind, speech())) as reading:
            await hear(FileSource(reading))
            assert os.fstat(reading), "the caller's descriptor is the caller's"
        with pipe_with(encode(kind, speech())) as reading:
            blocks = aiter(FileSource(reading))
            await anext(blocks)
            await blocks.aclose()  # type: ignore[attr-defined]
    await release_readers()

    assert len(os.listdir("/proc/self/fd")) == before


async def release_readers() -> None:
    """Wait until no thread reads a pipe, and nothing that is garbage holds a descriptor."""
    for thread in threading.enumerate():
        if thread.name.startswith("read "):
            await asyncio.to_thread(thread.join)
    gc.collect()
