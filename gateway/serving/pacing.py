"""How many WebSocket frames are read, and when: a flood slows its sender and nobody else.

A frame costs the same to handle however small it is, so a peer that sends empty ones could take all
of the process's time with little bandwidth. Each socket may read a number of frames a second that
live audio never reaches. What comes faster shares a rate of the whole process, in turns.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

TURN_FRAMES = 32
"""Frames that one socket may read before the event loop does something else: about 0.5 ms."""

ADMITTED_FRAMES_HZ = 250.0
"""Above every live client: browsers' worklets make 128 samples at a time, 187.5 times a second."""
WAITING_FRAMES_HZ = 25.0
"""For a socket without a slot: twice the usual 12.5 messages a second."""
SHARED_FRAMES_HZ = 2_500.0
"""Beyond these, for all sockets together: 200 s of audio a second in the usual messages of 80 ms,
and 4 % of one core. On a machine whose cores are all in use, four times as many doubled the wait of
the session beside a flood."""

_BURST_S = 2.0
_SHARED_BURST_S = 0.1


class Bucket:
    """A token bucket: `rate_hz` tokens a second, at most `burst` of them saved."""

    def __init__(
        self, rate_hz: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate_hz = rate_hz
        self._burst = burst
        self._clock = clock
        self._tokens = burst
        self._filled_s = clock()

    @property
    def tokens(self) -> int:
        """Whole tokens that are there now."""
        now_s = self._clock()
        earned = (now_s - self._filled_s) * self.rate_hz
        self._tokens = min(self._burst, self._tokens + earned)
        self._filled_s = now_s
        return int(self._tokens)

    def take(self, count: int) -> None:
        """Spend tokens, or give some back with a negative count."""
        self._tokens -= count

    def seconds_until(self, count: int) -> float:
        """When so many tokens will be there, if nobody takes any."""
        return max(0.0, (count - self.tokens) / self.rate_hz)


def make_waiting_bucket() -> Bucket:
    """The frames of a socket that waits for a slot."""
    return Bucket(WAITING_FRAMES_HZ, WAITING_FRAMES_HZ * _BURST_S)


def make_admitted_bucket() -> Bucket:
    """The frames of a socket that has a slot."""
    return Bucket(ADMITTED_FRAMES_HZ, ADMITTED_FRAMES_HZ * _BURST_S)


class Reader(Protocol):
    """Somebody who waits for a turn."""

    def read_frames(self, allowed: int) -> int:
        """Read at most so many frames; returns how many there were."""
        ...


class SharedPace:
    """The rate that sockets share when they have used up their own, one turn after the other.

    Not thread-safe: use it in one event loop.
    """

    def __init__(self, rate_hz: float = SHARED_FRAMES_HZ) -> None:
        self._bucket = Bucket(rate_hz, max(TURN_FRAMES, rate_hz * _SHARED_BURST_S))
        self._waiting: deque[Reader] = deque()
        self._timer: asyncio.Handle | None = None

    def ask(self, reader: Reader) -> None:
        """Call `reader.read_frames` when its turn has come. A reader asks once at a time."""
        self._waiting.append(reader)
        if self._timer is None:
            self._schedule()

    def leave(self, reader: Reader) -> None:
        """Forget a reader that asked, if it did."""
        if reader in self._waiting:
            self._waiting.remove(reader)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        wait_s = self._bucket.seconds_until(TURN_FRAMES)
        # One turn per iteration of the loop, so that others run in between.
        self._timer = (
            loop.call_later(wait_s, self._grant) if wait_s > 0.0 else loop.call_soon(self._grant)
        )

    def _grant(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if self._bucket.tokens >= TURN_FRAMES:
            reader = self._waiting.popleft()
            self._bucket.take(TURN_FRAMES)
            unused = TURN_FRAMES - reader.read_frames(TURN_FRAMES)
            self._bucket.take(-unused)
        if self._waiting and self._timer is None:
            self._schedule()
