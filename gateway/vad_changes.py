"""Settings of pauses that a client changed on its way, kept until no replay needs them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stt.v1 import stt_pb2


@dataclass(frozen=True)
class VadChange:
    """Settings for the audio from a position on, in bytes."""

    position: int
    vad: stt_pb2.VadSettings


class VadChanges:
    """The changes of one session, in order: those that were sent, then those that were not."""

    def __init__(self) -> None:
        self._changes: deque[VadChange] = deque()
        self._sent = 0

    @property
    def next(self) -> VadChange | None:
        """The first that was not sent."""
        return self._changes[self._sent] if self._sent < len(self._changes) else None

    def add(self, position: int, vad: stt_pb2.VadSettings) -> None:
        """Settings for the audio from `position` on, which is no earlier than those before."""
        # Of several at one place the last one counts.
        if self._changes and self._changes[-1].position == position:
            self._changes.pop()
            self._sent = min(self._sent, len(self._changes))
        self._changes.append(VadChange(position, vad))

    def note_sent(self) -> None:
        """`next` was sent."""
        self._sent += 1

    def settle(self, position: int) -> stt_pb2.VadSettings | None:
        """Forget what was sent for audio up to `position`, before which no call begins any more.

        Returns the settings in force there, if any were forgotten: a call begins with them.
        """
        vad = None
        while self._sent and self._changes[0].position <= position:
            vad = self._changes.popleft().vad
            self._sent -= 1
        return vad

    def send_again(self) -> None:
        """A call begins, and knows of none of them."""
        self._sent = 0

    def clear(self) -> None:
        """Forget them all: a new config says it anew."""
        self._changes.clear()
        self._sent = 0
