"""The queue of what a client sent and the service has not accepted yet, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.protocols.codec import Command

CHUNK_BYTES = 64 * 1024
"""Largest chunk passed on at once, so that a large message is split up."""

COMMAND_BYTES = 1024
"""What a command counts against the limit; an upper bound of its size."""

GUARANTEED_BYTES = 64 * 1024
"""What a session may hold however much the others hold: 0.7 s of float32 audio at 24 kHz."""


class Budget:
    """Bytes that several inboxes may hold together, beyond what each is guaranteed."""

    def __init__(self, limit_bytes: float) -> None:
        self._limit_bytes = limit_bytes
        self.held_bytes = 0
        self._waiting: set[asyncio.Event] = set()

    @property
    def has_room(self) -> bool:
        """Whether more may be held."""
        return self.held_bytes < self._limit_bytes

    def add(self, count: int) -> None:
        """Count bytes in, or out with a negative count."""
        self.held_bytes += count
        if count < 0 and self._waiting and self.has_room:
            for event in self._waiting:
                event.set()

    async def wait(self, changed: asyncio.Event) -> None:
        """Wait for `changed`, which is also set when there is room again."""
        self._waiting.add(changed)
        try:
            await changed.wait()
        finally:
            self._waiting.discard(changed)


@dataclass(frozen=True)
class Budgets:
    """What all sessions of a gateway may hold together."""

    waiting: Budget
    admitted: Budget

    @classmethod
    def of(cls, limit_bytes: int) -> Budgets:
        """Half for the sessions that wait for a slot, half for those that have one."""
        half = limit_bytes / 2
        return cls(waiting=Budget(half), admitted=Budget(half))


class Inbox:
    """A queue of audio and commands between one writer and one reader.

    Adjacent audio is joined, so that many small messages take no more memory than one large one.
    The limits are checked before a message is added: at most a limit and one message are held.
    """

    def __init__(self, limit_bytes: int, budget: Budget | None = None) -> None:
        self._limit_bytes = limit_bytes
        self._budget = budget or Budget(float("inf"))
        self._items: deque[bytes | bytearray | Command] = deque()
        self._held_bytes = 0
        self._kept_bytes = 0
        self._added = asyncio.Event()
        self._taken = asyncio.Event()

    @property
    def held_bytes(self) -> int:
        """Bytes queued now; a command counts as `COMMAND_BYTES`."""
        return self._held_bytes

    @property
    def has_shared_room(self) -> bool:
        """Whether the budget of all sessions allows more."""
        return self._budget.has_room

    def move_to(self, budget: Budget) -> None:
        """From now on count what is held against another budget."""
        count = self._held_bytes + self._kept_bytes
        self._budget.add(-count)
        self._budget = budget
        budget.add(count)
        self._taken.set()

    def note_kept(self, count: int) -> None:
        """Count bytes that were taken and are kept elsewhere against the budget; so many now."""
        self._budget.add(count - self._kept_bytes)
        self._kept_bytes = count

    def clear(self) -> None:
        """Drop everything: the session has ended."""
        self._items.clear()
        self._count(-self._held_bytes)
        self.note_kept(0)

    async def put(self, item: bytes | Command) -> None:
        """Append audio or a command; waits for room."""
        while not self._has_room:
            self._taken.clear()
            await self._budget.wait(self._taken)
        if not isinstance(item, bytes):
            self._items.append(item)
            self._count(COMMAND_BYTES)
        elif item:
            self._append_audio(item)
        self._added.set()

    async def take(self) -> bytes | Command:
        """The next command, or the next audio: 1 to `CHUNK_BYTES` bytes."""
        while not self._items:
            self._added.clear()
            await self._added.wait()
        taken = self._items.popleft()
        if isinstance(taken, bytearray):
            taken = bytes(taken)
        self._count(-len(taken) if isinstance(taken, bytes) else -COMMAND_BYTES)
        self._taken.set()
        return taken

    @property
    def _has_room(self) -> bool:
        if self._held_bytes < min(GUARANTEED_BYTES, self._limit_bytes):
            return True
        return self._held_bytes < self._limit_bytes and self._budget.has_room

    def _count(self, count: int) -> None:
        self._held_bytes += count
        self._budget.add(count)

    def _append_audio(self, audio: bytes) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(last, bytearray) and len(last) + len(audio) <= CHUNK_BYTES:
            last += audio
        elif isinstance(last, bytes) and len(last) + len(audio) <= CHUNK_BYTES:
            self._items[-1] = bytearray(last + audio)
        else:
            if isinstance(last, bytearray):
                # It has room to grow, which it no longer needs.
                self._items[-1] = bytes(last)
            if len(audio) <= CHUNK_BYTES:
                # Live audio is taken before more comes, and is then never copied.
                self._items.append(audio)
            else:
                starts = range(0, len(audio), CHUNK_BYTES)
                self._items.extend(audio[start : start + CHUNK_BYTES] for start in starts)
        self._count(len(audio))
