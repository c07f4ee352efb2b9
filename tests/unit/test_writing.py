"""A write waits for its caller for a bounded time, and for less when the server is in a hurry."""

import asyncio
from typing import Any

import pytest

from stt_service import writing
from stt_service.engine.errors import InternalError, SlowConsumer
from stt_service.writing import Writer, abort


class DeafCaller:
    """A context whose caller takes nothing."""

    async def write(self, _message: object) -> None:
        await asyncio.Event().wait()

    async def abort(self, *_: object) -> None:
        await asyncio.Event().wait()


DEAF: Any = DeafCaller()


async def test_a_write_ends_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_TIMEOUT_S", 0.02)
    with pytest.raises(SlowConsumer, match=r"for 0\.02 s"):
        await Writer().write(DEAF, "token")


async def test_a_hurry_shortens_the_writes_that_wait_and_those_that_come() -> None:
    writer = Writer()
    waiting = asyncio.create_task(writer.write(DEAF, "token"))
    await asyncio.sleep(0)
    writer.hurry(0.02)
    for write in (waiting, writer.write(DEAF, "final")):
        with pytest.raises(SlowConsumer, match=r"for 0\.02 s"):
            async with asyncio.timeout(5):
                await write


async def test_a_hurry_in_the_turn_in_which_a_write_times_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "WRITE_TIMEOUT_S", 0.02)
    writer = Writer()
    waiting = asyncio.create_task(writer.write(DEAF, "token"))
    await asyncio.sleep(0)
    (timeout,) = writer._waiting
    while not timeout.expired():  # noqa: ASYNC110
        await asyncio.sleep(0)
    writer.hurry(0.01)
    with pytest.raises(SlowConsumer):
        await waiting


async def test_a_later_hurry_gives_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "WRITE_TIMEOUT_S", 0.02)
    writer = Writer()
    writer.hurry(60.0)
    with pytest.raises(SlowConsumer):
        async with asyncio.timeout(5):
            await writer.write(DEAF, "token")


async def test_a_status_that_nobody_takes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "STATUS_TIMEOUT_S", 0.02)
    async with asyncio.timeout(5):
        await abort(DEAF, InternalError())
