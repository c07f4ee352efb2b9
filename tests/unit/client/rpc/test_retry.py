"""When to try again, with a fake clock."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.rpc.errors import (
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    Unauthenticated,
)
from client.rpc.retry import (
    FIRST_PAUSE_S,
    MAX_ADVICE_S,
    MAX_PAUSE_S,
    Patience,
    Retry,
    Waiting,
)

SECONDS = st.floats(0.0, 1e4)
ERRORS = st.one_of(
    st.builds(
        lambda kind, advice_s: kind("no", advice_s),
        st.sampled_from([ServerFull, ServerUnavailable, ServerUnreachable]),
        st.none() | st.floats(0.0, 1e6),
    ),
    st.builds(Unauthenticated, st.just("no")),
)
ATTEMPTS = st.lists(st.tuples(SECONDS, ERRORS), min_size=1, max_size=30)
PATIENCE = st.builds(Patience, SECONDS, SECONDS, SECONDS)


class Time:
    """A clock that moves only with sleeps and attempts, and a random number of `fraction`."""

    def __init__(self, fraction: float = 1.0) -> None:
        self.now_s = 1000.0
        self.pauses_s: list[float] = []
        self._fraction = fraction

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.pauses_s.append(seconds)
        self.now_s += seconds

    def uniform(self, low: float, high: float) -> float:
        return low + self._fraction * (high - low)

    def retry(self, patience: Patience, told: list[Waiting] | None = None) -> Retry:
        return Retry(
            patience.limit_s,
            told.append if told is not None else None,
            clock=self.clock,
            sleep=self.sleep,
            uniform=self.uniform,
        )


def longest_jitter_s(failures: int) -> float:
    return min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (failures - 1))


@given(PATIENCE, ATTEMPTS, st.floats(0.0, 1.0))
def test_every_pause_is_within_patience_the_jitter_and_the_advice(
    patience: Patience, attempts: list[tuple[float, SttError]], fraction: float
):
    time, told = Time(fraction), list[Waiting]()
    retry = time.retry(patience, told)
    started_s = time.now_s

    async def run() -> None:
        for failures, (takes_s, error) in enumerate(attempts, 1):
            time.now_s += takes_s
            waited_s = time.now_s - started_s
            left_s = patience.limit_s(error) - waited_s
            if left_s <= 0.0:
                with pytest.raises(type(error)) as caught:
                    await retry.pause(error)
                assert caught.value is error
                return
            await retry.pause(error)
            pause_s = time.pauses_s[-1]
            advice_s = min(getattr(error, "retry_after_s", None) or 0.0, MAX_ADVICE_S)
            assert 0.0 <= pause_s <= left_s
            assert pause_s <= advice_s + longest_jitter_s(failures)
            assert pause_s >= min(advice_s, left_s)
            assert told[-1] == Waiting(error, waited_s, pause_s)
            assert retry.failures == failures

    asyncio.run(run())
    assert len(told) == len(time.pauses_s)


@given(ATTEMPTS)
def test_what_was_achieved_begins_a_new_row(attempts: list[tuple[float, SttError]]):
    time = Time()
    patience = Patience(starting_s=1.0, full_s=1.0, unreachable_s=1.0)
    retry = time.retry(patience)

    async def run() -> None:
        for takes_s, error in attempts:
            time.now_s += takes_s
            retry.reset()
            if patience.limit_s(error):
                await retry.pause(error)
                assert retry.failures == 1
        retry.reset()
        assert retry.failures == 0

    asyncio.run(run())


async def test_pauses_double_and_are_bounded_however_often_it_fails():
    time = Time()
    retry = time.retry(Patience(starting_s=1e9))
    for _ in range(2000):
        await retry.pause(ServerUnavailable("starting"))
    assert time.pauses_s[:5] == [0.2, 0.4, 0.8, 1.6, 3.0]
    assert set(time.pauses_s[4:]) == {MAX_PAUSE_S}


async def test_jitter_reaches_down_to_nothing():
    time = Time(fraction=0.0)
    await time.retry(Patience()).pause(ServerUnavailable("starting"))
    assert time.pauses_s == [0.0]


async def test_advice_is_kept_to_and_everyone_comes_back_at_a_time_of_their_own():
    early, late = Time(fraction=0.0), Time(fraction=1.0)
    for time in (early, late):
        await time.retry(Patience()).pause(ServerFull("full", retry_after_s=2.0))
    assert early.pauses_s == [2.0]
    assert late.pauses_s == [2.2]


async def test_patience_is_used_up_to_its_end_and_no_further():
    time = Time()
    retry = time.retry(Patience(unreachable_s=1.0))
    error = ServerUnreachable("nobody")
    with pytest.raises(ServerUnreachable):
        while True:
            await retry.pause(error)
    assert time.now_s == pytest.approx(1001.0)
    assert time.pauses_s == pytest.approx([0.2, 0.4, 0.4])


@pytest.mark.parametrize(
    ("error", "limit_s"),
    [
        (ServerUnreachable("nobody"), 1.0),
        (ServerUnavailable("starting"), 2.0),
        (ServerFull("full"), 3.0),
        (ServerFailed("broken"), 0.0),
        (Unauthenticated("who"), 0.0),
    ],
)
def test_patience_is_by_the_kind_of_error(error: SttError, limit_s: float):
    assert Patience(unreachable_s=1.0, starting_s=2.0, full_s=3.0).limit_s(error) == limit_s


async def test_an_async_listener_is_awaited_before_the_pause():
    time, told = Time(), list[float]()

    async def on_wait(waiting: Waiting) -> None:
        await asyncio.sleep(0)
        told.append(waiting.next_try_s)
        assert time.pauses_s == []

    retry = Retry(lambda _: 60.0, on_wait, clock=time.clock, sleep=time.sleep, uniform=time.uniform)
    await retry.pause(ServerUnavailable("starting"))
    assert told == [FIRST_PAUSE_S]
