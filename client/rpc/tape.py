"""The audio of one stream, kept from the last safe point on so that it can be sent again."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

FRAMES_PER_SECOND = 12.5
"""Model steps for a second of audio."""
BORDER_TOLERANCE_FRAMES = 1e-6
"""Floats cannot represent every frame border exactly: this near counts as reached."""


class Block(Protocol):
    """A piece of audio that can be measured and cut: an array of samples, or bytes."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Any: ...


B = TypeVar("B", bound=Block)


@dataclass(frozen=True)
class FlushMark:
    """A flush that the caller asked for, and where in the audio."""

    flush_id: str
    position: int


class Tape(Generic[B]):
    """Blocks of audio by position, and the flushes between them; pure.

    Positions count what `len` of a block counts: samples of an array, bytes of bytes. `nothing`
    is the empty block.
    """

    def __init__(self, nothing: B) -> None:
        self._nothing = nothing
        self._blocks: list[B] = []
        self._starts: list[int] = []
        self._marks: dict[int, FlushMark] = {}
        self._next_mark = 0
        self.end = 0
        """How much was recorded so far."""
        self.finished = False
        """Whether nothing more will be recorded."""

    @property
    def start(self) -> int:
        """The first position that is still kept."""
        return self._starts[0] if self._starts else self.end

    def record(self, block: B) -> None:
        """Append a block."""
        if len(block):
            self._blocks.append(block)
            self._starts.append(self.end)
            self.end += len(block)

    def mark_flush(self, flush_id: str) -> None:
        """Ask for a flush after the audio recorded so far."""
        self._marks[self._next_mark] = FlushMark(flush_id, self.end)
        self._next_mark += 1

    def confirm_flush(self, flush_id: str) -> bool:
        """Forget the oldest flush of this name; False if there is none."""
        for number, mark in self._marks.items():
            if mark.flush_id == flush_id:
                del self._marks[number]
                return True
        return False

    def marks_from(self, number: int) -> Iterator[tuple[int, FlushMark]]:
        """Unconfirmed flushes in order, from the given number on."""
        return ((n, mark) for n, mark in self._marks.items() if n >= number)

    def read(self, position: int, limit: int) -> B:
        """Up to `limit` of one block from `position`, which must still be kept; empty at the end.

        Raises ValueError for a position that was forgotten.
        """
        if position >= self.end or limit <= 0:
            return self._nothing
        if position < self.start:
            raise ValueError(f"position {position} was forgotten; the tape starts at {self.start}")
        index = bisect_right(self._starts, position) - 1
        offset = position - self._starts[index]
        return self._blocks[index][offset : offset + limit]

    def forget_before(self, position: int) -> None:
        """Drop whole blocks that end at or before `position`."""
        keep_from = bisect_right(self._starts, position) - 1
        if position >= self.end:
            keep_from = len(self._starts)
        if keep_from > 0:
            del self._blocks[:keep_from]
            del self._starts[:keep_from]


def whole_frames(seconds: float, frame_length: int) -> int:
    """The position of the last frame border at or before a time; a frame is `frame_length` long.

    A replay that starts on a frame border cuts the audio into the same frames as before.
    """
    frames = max(0.0, seconds) * FRAMES_PER_SECOND
    return int(frames + BORDER_TOLERANCE_FRAMES) * frame_length
