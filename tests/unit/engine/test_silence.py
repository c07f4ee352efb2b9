"""Stalls and idle ends, on an event loop whose clock the test turns."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.awake_clock import AwakeClock
from stt_service.engine.silence import SETTLE_S, SilenceWatch

STALL_S = 0.5
IDLE_S = 10.0


class TurnedLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until `turn` moves it."""

    now_s = 0.0

    def time(self) -> float:
        return self.now_s

    def stand_still(self, seconds: float) -> None:
        """Let time pass without a turn, as where the process is stopped, then turn once."""
        self.now_s += seconds
        self.call_soon(self.stop)
        self.run_forever()

    def turn(self, seconds: float) -> None:
        """Let time pass in small steps, so that every timer fires when it is due."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 0.05)
            self.call_soon(self.stop)
            self.run_forever()


class Bench:
    """A watch and what it called, with the times."""

    def __init__(self, loop: TurnedLoop, **timeouts: float) -> None:
        self.loop = loop
        self.told: list[tuple[str, float]] = []
        timeouts = {"stall_timeout_s": STALL_S, "idle_timeout_s": IDLE_S, **timeouts}

        async def make() -> SilenceWatch:
            clock = AwakeClock()
            clock.start()
            return SilenceWatch(
                clock,
                **timeouts,
                on_stall=self._note("stall"),
                on_settle=self._note("settle"),
                on_idle=self._note("idle"),
            )

        self.watch = loop.run_until_complete(make())

    def _note(self, what: str) -> Callable[[], None]:
        return lambda: self.told.append((what, round(self.loop.now_s, 3)))

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


@pytest.fixture
def loop():
    loop = TurnedLoop()
    yield loop
    loop.close()


def test_without_audio_nothing_stalls_and_the_session_is_idle(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    loop.turn(2 * IDLE_S)
    assert bench.told == [("idle", pytest.approx(IDLE_S, abs=0.06))]


def test_a_stall_is_told_once_and_again_after_audio(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    for _ in range(2):
        bench.watch.note_audio()
        loop.turn(3.0)
    assert bench.names == ["stall", "settle"] * 2
    stalled_s, settled_s = (time_s for _, time_s in bench.told[:2])
    assert settled_s - stalled_s == pytest.approx(SETTLE_S, abs=0.06)


def test_audio_that_comes_all_the_time_is_no_silence(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    for _ in range(400):
        bench.watch.note_audio()
        loop.turn(0.1)
    assert bench.told == []


def test_audio_in_bursts_stalls_when_the_burst_would_have_been_played(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    for _ in range(10):
        bench.watch.note_audio(burst_s=1.0)
        loop.turn(1.1)
    assert bench.told == []
    loop.turn(0.5)
    assert bench.names == ["stall"]
    bench.watch.note_audio()
    loop.turn(STALL_S + 0.1)
    assert bench.names == ["stall", "stall"]


def test_who_waits_for_room_is_not_silent(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    bench.watch.note_audio()
    with bench.watch.held_back():
        loop.turn(3 * IDLE_S)
    assert bench.told == []
    loop.turn(STALL_S + 0.1)
    assert bench.names == ["stall"]


@pytest.mark.parametrize("stopped_s", [1.0, 12.0, 3600.0])
def test_while_the_loop_stands_still_nobody_is_silent(loop: TurnedLoop, stopped_s: float) -> None:
    """What came meanwhile lies in the socket, and is read in one of the next turns."""
    bench = Bench(loop)
    for _ in range(5):
        bench.watch.note_audio()
        loop.turn(0.1)
    loop.stand_still(stopped_s)
    loop.turn(0.1)
    assert bench.told == []
    bench.watch.note_audio()
    loop.turn(STALL_S - 0.1)
    assert bench.told == []


def test_standing_still_again_and_again_is_no_silence_either(loop: TurnedLoop) -> None:
    """Nor is it where the loop turns a little in between, as on a starved machine."""
    bench = Bench(loop, stall_timeout_s=5.0)
    for _ in range(20):
        bench.watch.note_audio()
        loop.turn(0.1)
        loop.stand_still(4.0)
        loop.turn(0.1)
    assert bench.told == []


def test_who_is_silent_while_the_loop_turns_is_idle_though_it_stood_still(
    loop: TurnedLoop,
) -> None:
    bench = Bench(loop)
    loop.turn(IDLE_S / 2)
    loop.stand_still(60.0)
    loop.turn(IDLE_S / 2 + 0.1)
    assert bench.told == [("idle", pytest.approx(60.0 + IDLE_S, abs=0.5))]


def test_after_stop_nothing_is_told(loop: TurnedLoop) -> None:
    bench = Bench(loop)
    bench.watch.note_audio()
    bench.watch.stop()
    bench.watch.note_audio()
    loop.turn(2 * IDLE_S)
    assert bench.told == []


def test_an_idle_timeout_shorter_than_the_stall_ends_first(loop: TurnedLoop) -> None:
    bench = Bench(loop, idle_timeout_s=0.3)
    bench.watch.note_audio()
    loop.turn(1.0)
    assert bench.names == ["idle"]


@given(gaps_s=st.lists(st.floats(0.0, 3.0), max_size=12))
def test_every_gap_longer_than_the_timeout_stalls_once(gaps_s: list[float]) -> None:
    loop = TurnedLoop()
    try:
        bench = Bench(loop)
        for gap_s in gaps_s:
            bench.watch.note_audio()
            loop.turn(gap_s)
        # A timer may be a turn of the loop late.
        for name, timeout_s in (("stall", STALL_S), ("settle", STALL_S + SETTLE_S)):
            times = bench.names.count(name)
            assert sum(gap > timeout_s + 0.06 for gap in gaps_s) <= times
            assert times <= sum(gap >= timeout_s - 1e-6 for gap in gaps_s)
        assert set(bench.names) <= {"stall", "settle"}
    finally:
        loop.close()
