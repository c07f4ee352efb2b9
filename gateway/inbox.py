"""The queue of what a client sent and the service has not accepted yet, bounded in bytes."""

import asyncio
from collections import deque

from gateway.protocol import Command

CHUNK_BYTES = 64 * 1024
"""Largest chunk passed on at once, so that a large message is split up."""

COMMAND_BYTES = 1024
"""What a command counts against the limit; an upper bound of its size."""


class Inbox:
    """A queue of audio and commands between one writer and one reader.

    Adjacent audio is joined, so that many small messages take no more memory than one large one.
    The limit is checked before a message is added: at most the limit and one message are held.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._items: deque[bytearray | Command] = deque()
        self._held_bytes = 0
        self._changed = asyncio.Condition()

    @property
    def held_bytes(self) -> int:
        """Bytes queued now; a command counts as `COMMAND_BYTES`."""
        return self._held_bytes

    async def put(self, item: bytes | Command) -> None:
        """Append audio or a command; waits for room."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._held_bytes < self._limit_bytes)
            if not isinstance(item, bytes):
                self._items.append(item)
                self._held_bytes += COMMAND_BYTES
            elif item:
                self._append_audio(item)
            self._changed.notify_all()

    async def take(self) -> bytes | Command:
        """The next command, or the next audio: 1 to `CHUNK_BYTES` bytes."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._items))
            first = self._items[0]
            if isinstance(first, bytearray):
                taken: bytes | Command = self._take_audio(first)
            else:
                taken = first
                self._items.popleft()
                self._held_bytes -= COMMAND_BYTES
            self._changed.notify_all()
            return taken

    def _append_audio(self, audio: bytes) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(last, bytearray):
            last += audio
        else:
            self._items.append(bytearray(audio))
        self._held_bytes += len(audio)

    def _take_audio(self, first: bytearray) -> bytes:
        chunk = bytes(first[:CHUNK_BYTES])
        # CPython deletes from the front of a bytearray without moving the rest.
        del first[:CHUNK_BYTES]
        if not first:
            self._items.popleft()
        self._held_bytes -= len(chunk)
        return chunk
