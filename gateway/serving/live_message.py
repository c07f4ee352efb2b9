"""The common case of a WebSocket, read at once: a whole binary message, as live audio comes.

wsproto takes a frame apart in steps that suit every frame and any cut between two reads. A live
stream sends the same small frame 12.5 times a second, nearly always alone in its read.
"""

from __future__ import annotations

_FIN = 0x80
_BINARY = 0x2
_CONTROL = 0x8
_OPCODE = 0x0F
_MASKED = 0x80
_LENGTH = 0x7F
_TWO_BYTES = 126
_EIGHT_BYTES = 127
_KEY_BYTES = 4


def read_whole_message(data: bytes) -> bytes | None:
    """The payload, if `data` is exactly one masked frame that is a whole binary message.

    None for anything else, right or wrong, and for a message of 64 KiB and more.
    """
    if len(data) < 2 or data[0] != _FIN | _BINARY or not data[1] & _MASKED:
        return None
    length = data[1] & _LENGTH
    start = 2
    if length == _EIGHT_BYTES:
        return None
    if length == _TWO_BYTES:
        length = int.from_bytes(data[2:4])
        start = 4
        if length < _TWO_BYTES:
            return None
    start += _KEY_BYTES
    if len(data) != start + length:
        return None
    key = data[start - _KEY_BYTES : start]
    return unmask(data[start:], key)


def unmask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3, on one large number: the bytes of the key, again and again, XOR."""
    length = len(payload)
    repeated = (key * (length // _KEY_BYTES + 1))[:length]
    number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
    return number.to_bytes(length, "little")


class MessageBorders:
    """Whether the bytes of a client so far end where a message ends. Assumes that they are right:
    who reads them finds out if they are not."""

    def __init__(self) -> None:
        self._head = b""
        self._payload_left = 0
        self._is_in_message = False

    @property
    def is_at_border(self) -> bool:
        """Whether the next byte begins a message."""
        return not (self._head or self._payload_left or self._is_in_message)

    def follow(self, data: bytes) -> None:
        """The next bytes."""
        position = 0
        while position < len(data):
            if self._payload_left:
                skipped = min(self._payload_left, len(data) - position)
                self._payload_left -= skipped
            else:
                skipped = self._follow_head(data[position:])
            position += skipped

    def _follow_head(self, data: bytes) -> int:
        """Take what belongs to a frame's head, which may come in parts; how many bytes."""
        known = len(self._head)
        head = self._head + data[:14]
        if len(head) < 2 or len(head) < (size := _measure_head(head)):
            self._head = head
            return len(head) - known
        self._head = b""
        length = head[1] & _LENGTH
        if length == _TWO_BYTES:
            length = int.from_bytes(head[2:4])
        elif length == _EIGHT_BYTES:
            length = int.from_bytes(head[2:10])
        self._payload_left = length
        # A control frame may stand in the middle of a message.
        if head[0] & _OPCODE < _CONTROL:
            self._is_in_message = not head[0] & _FIN
        return size - known


def _measure_head(head: bytes) -> int:
    """Bytes of a frame's head, of which two are known."""
    extended = {_TWO_BYTES: 2, _EIGHT_BYTES: 8}.get(head[1] & _LENGTH, 0)
    return 2 + extended + (_KEY_BYTES if head[1] & _MASKED else 0)
