"""What one caller may take: pure, with a clock of its own."""

import asyncio
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.allowance import Allowance, allowing, current_allowance
from stt_service.engine.errors import Draining, TooManySessions
from stt_service.engine.frames import Framer
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from stt_service.process.keys import KeyLimits
from tests.unit.engine.models import FRAME_SAMPLES, SAMPLE_RATE_HERTZ


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


PIECES = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=50)


@given(per_minute=st.integers(1, 600), pieces=PIECES, pauses=st.lists(st.floats(0, 30)))
def test_no_more_is_heard_than_a_bucket_and_its_rate(per_minute, pieces, pauses) -> None:
    clock = Clock()
    allowance = Allowance("bob", KeyLimits(audio_seconds_per_minute=per_minute), clock)
    heard_s = 0.0
    for piece_s, pause_s in zip(pieces, pauses + [0.0] * len(pieces), strict=False):
        clock.now_s += pause_s
        clock.now_s += allowance.wait_s
        assert allowance.wait_s == pytest.approx(0, abs=1e-6)
        allowance.take(piece_s)
        heard_s += piece_s
        passed_s = clock.now_s - 100
        # One piece is taken whole.
        assert heard_s <= per_minute * (1 + passed_s / 60) + piece_s + 1e-6


@given(per_minute=st.integers(60, 600), frames=st.integers(1, 3000))
def test_a_live_session_never_waits_for_a_rate_of_its_own(per_minute, frames) -> None:
    clock = Clock()
    allowance = Allowance("bob", KeyLimits(audio_seconds_per_minute=per_minute), clock)
    for _ in range(frames):
        clock.now_s += 0.08
        assert allowance.wait_s == 0
        allowance.take(0.08)


def test_a_limit_that_comes_later_does_not_look_back() -> None:
    allowance = Allowance("bob", clock=Clock())
    allowance.take(1e6)
    allowance.limits = KeyLimits(audio_seconds_per_minute=60)
    assert allowance.wait_s == 0


@given(most=st.integers(1, 5), comings=st.lists(st.booleans()))
def test_sessions_are_counted(most: int, comings: list[bool]) -> None:
    allowance = Allowance("bob", KeyLimits(sessions=most))
    inside = 0
    for comes in comings:
        if comes and inside == most:
            with pytest.raises(TooManySessions, match="at once"):
                allowance.enter()
        elif comes:
            allowance.enter()
            inside += 1
        elif inside:
            allowance.leave()
            inside -= 1


@pytest.mark.parametrize(("asked_s", "gets_s"), [(1.0, 1.0), (30.0, 30.0), (600.0, 30.0)])
def test_an_idle_timeout_is_shortened(asked_s: float, gets_s: float) -> None:
    allowance = Allowance("bob", KeyLimits(idle_timeout_seconds=30))
    assert allowance.limit(SessionOptions(idle_timeout_s=asked_s)).idle_timeout_s == gets_s


async def test_each_call_has_its_own() -> None:
    async def serve(allowance: Allowance) -> bool:
        with allowing(allowance):
            await asyncio.sleep(0)
            inside = await asyncio.create_task(look())
        return inside is allowance and current_allowance() is not allowance

    async def look() -> Allowance:
        return current_allowance()

    assert all(await asyncio.gather(*(serve(Allowance(name)) for name in "abc")))


def open_session(allowance: Allowance, pushed: list) -> Session:
    framer = Framer("pcm_f32le", SAMPLE_RATE_HERTZ, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)
    clock = asyncio.get_running_loop().time
    return Session(
        *("test", framer, pushed.extend, lambda: None, clock),
        idle_timeout_s=0.05,
        stall_timeout_s=0.05,
        allowance=allowance,
    )


ONE_SECOND = np.zeros(SAMPLE_RATE_HERTZ, "<f4").tobytes()


@pytest.mark.parametrize("end", ["close", "fail", "cut"])
async def test_a_session_that_waits_for_its_allowance_ends_at_once(end: str) -> None:
    allowance = Allowance("bob", KeyLimits(audio_seconds_per_minute=1), Clock())
    allowance.take(30)
    pushed: list = []
    session = open_session(allowance, pushed)
    pushing = asyncio.create_task(session.push_audio(ONE_SECOND))
    # Twenty times as long as it may be idle.
    await asyncio.sleep(1)
    assert (pushing.done(), pushed) == (False, [])
    match end:
        case "close":
            session.close()
        case "fail":
            session.fail(Draining())
        case _:
            session.finish(Draining())
    async with asyncio.timeout(5):
        await asyncio.wait([pushing])
    session.close()
    # The end, and of what waited no more than the frame that was not complete.
    assert len(pushed) <= 2
    assert pushing.done()
    if (error := pushing.exception()) is not None:
        assert isinstance(error, Draining)
