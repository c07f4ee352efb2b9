"""Messages that are needed whole, and what all sockets together may hold of them.

A protocol whose messages are JSON or MessagePack cannot use a part of one. What a socket holds
beyond a second of audio is counted for the process. Where that is too much, the largest message
that is still unfinished is given up: the many small ones of live audio go on, whoever sends large
ones.
"""

from __future__ import annotations

from collections.abc import Callable

GUARANTEED_BYTES = 128 * 1024
"""What each socket may hold in any case: one second of float32 samples in MessagePack is 120 kB."""

_WIDEST_CHARACTER_BYTES = 4


class WholeMessages:
    """What the sockets of a process hold of their messages, beyond what each is guaranteed."""

    def __init__(self, limit_bytes: float) -> None:
        self._limit_bytes = limit_bytes
        self._unfinished: set[Assembly] = set()
        self.held_bytes = 0

    def count(self, change: int) -> None:
        """Count bytes in, or out with a negative number; makes room where there is too much."""
        self.held_bytes += change
        while change > 0 and self.held_bytes > self._limit_bytes and self._unfinished:
            max(self._unfinished, key=lambda assembly: assembly.unfinished_bytes).give_up()

    def note_unfinished(self, assembly: Assembly, *, is_unfinished: bool) -> None:
        """An assembly has begun a large message, or has finished it."""
        if is_unfinished:
            self._unfinished.add(assembly)
        else:
            self._unfinished.discard(assembly)


class Assembly:
    """One socket's message, put together, and those before it that the application has not used.

    `on_given_up` is called when the unfinished message was dropped to make room.
    """

    def __init__(
        self, shared: WholeMessages, limit_bytes: int, on_given_up: Callable[[], None]
    ) -> None:
        self._shared = shared
        self._limit_bytes = limit_bytes
        self._on_given_up = on_given_up
        self._pieces: list[str | bytes] = []
        self._finished_bytes = 0
        self._counted_bytes = 0
        self.unfinished_bytes = 0

    def add(self, piece: str | bytes | bytearray) -> bool:
        """Append a piece of a message; False if the message is larger than the limit."""
        self.unfinished_bytes += _measure(piece)
        if self.unfinished_bytes > self._limit_bytes:
            self.drop()
            return False
        # Of empty frames, however many there are, one is kept: a message may be empty.
        if piece or not self._pieces:
            self._pieces.append(piece if isinstance(piece, str) else bytes(piece))
        self._recount(is_unfinished=True)
        return True

    def finish(self) -> str | bytes | None:
        """The whole message; None if it was given up. Its bytes are counted until `release`."""
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return None
        self._finished_bytes += self.unfinished_bytes
        self.unfinished_bytes = 0
        self._recount(is_unfinished=False)
        if isinstance(pieces[0], str):
            return "".join(piece for piece in pieces if isinstance(piece, str))
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))

    def release(self, message: str | bytes) -> None:
        """The application has used a message."""
        self._finished_bytes -= _measure(message)
        self._recount(is_unfinished=bool(self._pieces))

    def drop(self) -> None:
        """Forget the unfinished message."""
        self._pieces.clear()
        self.unfinished_bytes = 0
        self._recount(is_unfinished=False)

    def give_up(self) -> None:
        """Forget the unfinished message, and say so."""
        self.drop()
        self._on_given_up()

    def close(self) -> None:
        """The socket has ended: nothing of it is held any more."""
        self._finished_bytes = 0
        self.drop()

    def _recount(self, *, is_unfinished: bool) -> None:
        held_bytes = self._finished_bytes + self.unfinished_bytes
        counted_bytes = max(0, held_bytes - GUARANTEED_BYTES)
        change = counted_bytes - self._counted_bytes
        self._counted_bytes = counted_bytes
        self._shared.note_unfinished(self, is_unfinished=is_unfinished and counted_bytes > 0)
        self._shared.count(change)


def _measure(message: str | bytes | bytearray) -> int:
    """Bytes in memory, at most."""
    if isinstance(message, str) and not message.isascii():
        return len(message) * _WIDEST_CHARACTER_BYTES
    return len(message)
