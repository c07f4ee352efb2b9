"""Real sessions that stall, flush and leave anywhere, in slots that go from one to the next."""

import asyncio
import random

import numpy as np
import pytest

from stt_service.engine import silence
from stt_service.engine.engine import Engine
from stt_service.engine.events import Event, Final, Flushed, Step, Token, Utterance, Word
from stt_service.engine.pauses import VadOptions
from tests.integration.engine.harness import (
    FRAME_SAMPLES,
    SLOTS,
    Recorder,
    open_session,
    read_all,
)
from tests.integration.engine.stock import StockLoop
from tests.support import MODEL_RATE_HERTZ, load_recordings

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEED = 20261128
SESSIONS = 24
MOST_SAMPLES = 30_000
# In steps; stock moshi takes most of the test's time.
COMPARED = 150


async def speak(engine: Engine, dice: random.Random) -> None:
    """One session, whose events agree with each other and with its audio."""
    speech = dice.choice(load_recordings()).samples()
    start = dice.randrange(len(speech) // 2)
    pcm = speech[start : start + dice.randint(1, MOST_SAMPLES)].astype("<f4")
    stall_s = dice.choice([0.01, 0.03, 0.1])
    async with open_session(
        engine, stall_timeout_s=stall_s, wants_steps=True, wants_utterances=True
    ) as session:
        reading = asyncio.create_task(read_all(session))
        sent = flushes = 0
        while sent < len(pcm):
            size = dice.randint(1, 6000)
            await session.push_audio(pcm[sent : sent + size].tobytes())
            sent += size
            match dice.choices(["flush", "vad", "leave", ""], [20, 10, 3, 67])[0]:
                case "flush":
                    await session.flush(str(flushes))
                    flushes += 1
                case "vad":
                    await session.change_vad(VadOptions(dice.choice([0.5, 1.0, 2.0])))
                case "leave":
                    reading.cancel()
                    return
            await asyncio.sleep(dice.choice([0, 0, 0.01, 0.05, 0.2]))
        session.finish()
        updates = await reading
    processed = [update.processed_s for update in updates]
    assert processed == sorted(processed)
    check([update.event for update in updates], len(pcm), flushes)


def check(events: list[Event], samples: int, flushes: int) -> None:
    final = events[-1]
    assert isinstance(final, Final)
    assert "".join(e.text for e in events if isinstance(e, Token)) == final.transcript
    assert tuple(e for e in events if isinstance(e, Word)) == final.words
    turns = [word for e in events if isinstance(e, Utterance) for word in e.words]
    assert tuple(turns) == final.words
    assert final.audio_duration_s == pytest.approx(samples / MODEL_RATE_HERTZ)
    frames = -(-samples // FRAME_SAMPLES)
    assert [e.index for e in events if isinstance(e, Step)] == list(range(frames))
    assert sum(isinstance(e, Flushed) for e in events) == flushes


async def test_nobody_hears_of_anybodys_detours(
    engine: Engine, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a slot says, less the detours, is what stock moshi says of the same frames."""
    monkeypatch.setattr(silence, "SETTLE_S", 0.05)
    dice = random.Random(SEED)
    left = iter(range(SESSIONS))

    async def take_slot() -> None:
        for _ in left:
            await speak(engine, dice)

    await asyncio.gather(*[take_slot() for _ in range(SLOTS)])
    assert sum(occupancy.detours for occupancy in recorder.occupancies) > SESSIONS
    stock = StockLoop()
    compared = 0
    while compared < COMPARED:
        occupancy = dice.choice(recorder.occupancies)
        said = await asyncio.to_thread(stock.run, occupancy.frames)
        np.testing.assert_array_equal(occupancy.text_ids, [each.text_id for each in said])
        compared += len(said)
