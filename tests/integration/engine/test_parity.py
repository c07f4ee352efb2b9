"""The engine says what a plain moshi loop says, for every session, whatever the others do."""

import asyncio
import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from stt_service.engine.engine import Engine
from stt_service.engine.options import SessionOptions
from tests.integration.engine.harness import FRAME_SAMPLES, SLOTS, Recorder
from tests.integration.engine.stock import StockLoop
from tests.support import load_recordings

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Five and twenty-six in turn for each slot.
QUICK, MANY = 40, 208
SEED = 20261122


@dataclass
class Script:
    """What one simulated speaker does."""

    audio: npt.NDArray[np.float32]  # whole frames
    chunks: list[int]  # samples per message
    pause_s: float  # between messages
    flush_after: int | None  # samples
    cancel_after: int | None  # messages


def write_script(dice: random.Random) -> Script:
    speech = dice.choice(load_recordings()).samples()
    frames = dice.randint(3, 13)
    start = dice.randrange(len(speech) - frames * FRAME_SAMPLES)
    audio = speech[start : start + frames * FRAME_SAMPLES] * dice.uniform(0.3, 1.0)
    chunks: list[int] = []
    while sum(chunks) < len(audio):
        chunks.append(dice.choice([480, 1920, 1921, 7000, len(audio)]))
    return Script(
        audio=audio.astype(np.float32),
        chunks=chunks,
        pause_s=dice.choice([0.0, 0.0, 0.01, 0.03]),
        flush_after=dice.randrange(frames) * FRAME_SAMPLES if dice.random() < 0.4 else None,
        cancel_after=dice.randint(1, 3) if dice.random() < 0.15 else None,
    )


async def speak(engine: Engine, script: Script) -> None:
    session = await engine.open_session(SessionOptions())
    try:
        reading = asyncio.create_task(drain(session))
        sent = 0
        for number, size in enumerate(script.chunks):
            if number == script.cancel_after:
                reading.cancel()
                return
            chunk = script.audio[sent : sent + size]
            flush_after = script.flush_after
            if flush_after is not None and sent <= flush_after < sent + size:
                head = chunk[: flush_after - sent]
                await session.push_audio(head.tobytes())
                await session.flush("now")
                chunk = chunk[len(head) :]
            await session.push_audio(chunk.tobytes())
            sent += size
            await asyncio.sleep(script.pause_s)
        session.finish()
        await reading
    finally:
        session.close()


async def drain(session) -> None:
    async for _ in session:
        pass


@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
async def test_every_session_says_what_it_would_say_alone(
    engine: Engine, recorder: Recorder, count: int
) -> None:
    recorder.forget()
    dice = random.Random(SEED)
    scripts = [write_script(dice) for _ in range(count)]
    waiting = iter(scripts)

    async def take_slot() -> None:
        for script in waiting:
            await asyncio.sleep(dice.uniform(0, 0.05))
            await speak(engine, script)

    await asyncio.gather(*[take_slot() for _ in range(SLOTS)])

    # Some were closed before their first step and have no occupancy.
    assert count - 0.15 * count <= len(recorder.occupancies) <= count
    sizes = [int(report.plan.active.sum()) for report in recorder.steps]
    assert max(sizes) == SLOTS, "the sessions never filled a step: nothing was batched"
    stock = StockLoop()
    differing = 0
    heard = []
    for occupancy in recorder.occupancies:
        said = await asyncio.to_thread(stock.run, occupancy.frames)
        expected = [each.text_id for each in said]
        differing += sum(a != b for a, b in zip(occupancy.text_ids, expected, strict=True))
        heard.append(np.concatenate([f for f in occupancy.frames if f.any()]))
    assert differing == 0
    # Flushes amid speech, after which the sound goes on.
    assert sum(occupancy.detours for occupancy in recorder.occupancies) > count / 10
    assert sum(len(o.text_ids) for o in recorder.occupancies) > 12 * len(heard)
    # Nor was anybody's audio lost, doubled or swapped for another's.
    for script in scripts:
        if script.cancel_after is None:
            assert any(np.array_equal(script.audio, audio) for audio in heard)
