import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.pacing import TURN_FRAMES, Bucket, SharedPace


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@given(
    rate_hz=st.integers(1, 10_000),
    burst=st.integers(1, 1_000),
    waits=st.lists(st.floats(0.0, 2.0), max_size=50),
)
def test_a_bucket_gives_no_more_than_its_rate_and_its_burst(
    rate_hz: int, burst: int, waits: list[float]
):
    clock = Clock()
    bucket = Bucket(rate_hz, burst, clock)
    taken = 0
    for wait_s in waits:
        clock.now_s += wait_s
        taken += bucket.tokens
        bucket.take(bucket.tokens)
        assert taken <= burst + rate_hz * clock.now_s + 1e-6


def test_a_bucket_says_when_there_are_enough():
    clock = Clock()
    bucket = Bucket(10, 20, clock)
    assert bucket.seconds_until(20) == 0.0
    bucket.take(20)
    wait_s = bucket.seconds_until(5)
    clock.now_s += wait_s
    assert bucket.tokens == 5


class Flood:
    """A reader that always has more to read."""

    def __init__(self, pace: SharedPace, turns: Counter["Flood"], use: int) -> None:
        self._pace = pace
        self._turns = turns
        self._use = use

    def read_frames(self, allowed: int) -> int:
        assert allowed == TURN_FRAMES
        self._turns[self] += 1
        self._pace.ask(self)
        return self._use


async def share(use: int, rate_hz: float) -> Counter[Flood]:
    """How many turns each of three floods got in a while, of which one leaves half way."""
    pace = SharedPace(rate_hz)
    turns: Counter[Flood] = Counter()
    floods = [Flood(pace, turns, use) for _ in range(3)]
    for flood in floods:
        pace.ask(flood)
    await asyncio.sleep(0.2)
    pace.leave(floods[0])
    left = turns[floods[0]]
    await asyncio.sleep(0.2)
    assert turns[floods[0]] == left
    for flood in floods:
        pace.leave(flood)
    return turns


async def test_floods_share_the_rate_fairly():
    turns = await share(TURN_FRAMES, 3200.0)
    frames = TURN_FRAMES * turns.total()
    # A burst of a tenth of a second, and the time that the test took, of which little is known.
    assert frames >= 3200 * 0.3
    _, *stayed = sorted(turns.values())
    assert max(stayed) - min(stayed) <= 1


async def test_frames_that_a_turn_does_not_use_are_left_for_others():
    used_all = await share(TURN_FRAMES, 3200.0)
    used_one = await share(1, 3200.0)
    assert used_one.total() > 4 * used_all.total()
