"""What a socket has sent and the application has not asked for yet, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

MESSAGE_COST_BYTES = 1024
"""What a whole message counts against the limit beside its length."""

AsgiEvent = dict[str, Any]


class Received:
    """A queue of ASGI events. Adjacent audio is joined, unless it is added as messages."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._items: deque[bytes | bytearray | AsgiEvent] = deque()
        self._held_bytes = 0
        self._arrived = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether to read no more for now; at most one more piece is added beyond the limit."""
        return self._held_bytes >= self.limit_bytes

    def add_audio(self, audio: bytes | bytearray) -> None:
        """Append audio; an empty piece is nothing."""
        if not audio:
            return
        self._held_bytes += len(audio)
        last = self._items[-1] if self._items else None
        if isinstance(last, bytearray):
            last += audio
        elif isinstance(last, bytes):
            self._items[-1] = bytearray(last + audio)
        else:
            # Live audio is taken before more comes, and is then never copied.
            self._append(bytes(audio))

    def add_message(self, message: str | bytes) -> None:
        """Append a whole message."""
        self._held_bytes += len(message) + MESSAGE_COST_BYTES
        name = "text" if isinstance(message, str) else "bytes"
        self._append({"type": "websocket.receive", name: message})

    def add(self, event: AsgiEvent) -> None:
        """Append another event."""
        self._append(event)

    async def take(self) -> AsgiEvent:
        """The next event, when there is one. For one reader at a time."""
        while not self._items:
            self._arrived.clear()
            await self._arrived.wait()
        item = self._items.popleft()
        if isinstance(item, bytes | bytearray):
            self._held_bytes -= len(item)
            return {"type": "websocket.receive", "bytes": bytes(item)}
        message: str | bytes | None = item.get("text", item.get("bytes"))
        if message is not None:
            self._held_bytes -= len(message) + MESSAGE_COST_BYTES
        return item

    def _append(self, item: bytes | AsgiEvent) -> None:
        self._items.append(item)
        self._arrived.set()
