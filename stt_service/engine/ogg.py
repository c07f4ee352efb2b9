"""Ogg (RFC 3533): bytes become pages however they are split, and pages become packets."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from stt_service.engine.errors import InvalidAudio

CAPTURE_PATTERN = b"OggS"
# Capture pattern, version, flags, granule position, serial number, sequence number, checksum,
# number of segments.
HEADER = Struct("<4sBBqIIIB")
CHECKSUM = slice(22, 26)
CONTINUED, FIRST, LAST = 0x01, 0x02, 0x04
MAX_SEGMENTS = 255
MAX_SEGMENT_BYTES = 255
MAX_PAGE_BYTES = HEADER.size + MAX_SEGMENTS + MAX_SEGMENTS * MAX_SEGMENT_BYTES
# What a caller may send that is no page, in a row and in all. A file that was cut off and
# continued has one damaged page for each cut; more is not worth its checksums.
MAX_SKIPPED_BYTES = MAX_PAGE_BYTES
MAX_DAMAGED_PAGES = 100
# The longest packet that RFC 7845, section 6, asks a decoder to take.
MAX_PACKET_BYTES = 61_440

_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
# What strangers send in place of Ogg, by the first bytes of it.
_OTHER_FORMATS = {
    b"RIFF": "WAV",
    b"\x1a\x45\xdf\xa3": "WebM or Matroska",
    b"fLaC": "FLAC",
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
}


def checksum(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits of each byte the other way round, from 0."""
    crc = zlib.crc32(data.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(_BITS_REVERSED), "big")


@dataclass(frozen=True, slots=True)
class Page:
    """A page whose checksum is right.

    `lacing` has the length of each segment of `body`. `granule_position` is that of the last
    packet that ends in the page, -1 if none does.
    """

    flags: int
    granule_position: int
    serial_number: int
    sequence_number: int
    lacing: bytes
    body: bytes

    @property
    def is_continued(self) -> bool:
        """The first packet began in an earlier page."""
        return bool(self.flags & CONTINUED)

    @property
    def is_first(self) -> bool:
        """The first page of its logical stream."""
        return bool(self.flags & FIRST)

    @property
    def is_last(self) -> bool:
        """The last page of its logical stream."""
        return bool(self.flags & LAST)


class PageReader:
    """Finds the pages in a stream of bytes.

    The stream must begin with a page. Later, what is no page or has a wrong checksum is skipped.
    Holds no more than a page and the bytes of one call.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._begun = False
        self._skipped_bytes = 0
        self._damaged_pages = 0

    def read(self, data: bytes) -> Iterator[Page]:
        """The pages that are complete with `data`.

        InvalidAudio if the stream does not begin with a page, or too much of it is none.
        """
        self._buffer += data
        self._check_beginning()
        while (length := self._find_page()) is not None:
            page = self._parse(bytes(self._buffer[:length]))
            if page is None:
                self._damaged_pages += 1
                self._skip(1)
            else:
                self._skipped_bytes = 0
                del self._buffer[:length]
                yield page

    def _check_beginning(self) -> None:
        if self._begun:
            return
        beginning = bytes(self._buffer[: len(CAPTURE_PATTERN)])
        if not CAPTURE_PATTERN.startswith(beginning):
            formats = [
                name for start, name in _OTHER_FORMATS.items() if beginning.startswith(start)
            ]
            hint = f"; this looks like {formats[0]}" if formats else ""
            raise InvalidAudio(f"not an Ogg Opus stream: it begins with {beginning!r}{hint}")
        self._begun = beginning == CAPTURE_PATTERN

    def _find_page(self) -> int | None:
        """Skip to the next page; its length, or None if it is not complete."""
        while True:
            start = self._buffer.find(CAPTURE_PATTERN)
            if start < 0:
                # Its last bytes may begin the pattern.
                self._skip(max(0, len(self._buffer) - len(CAPTURE_PATTERN) + 1))
                return None
            self._skip(start)
            if len(self._buffer) < HEADER.size:
                return None
            version, flags = self._buffer[4], self._buffer[5]
            if version == 0 and flags <= CONTINUED | FIRST | LAST:
                break
            self._skip(1)
        body_start = HEADER.size + self._buffer[HEADER.size - 1]
        if len(self._buffer) < body_start:
            return None
        length = body_start + sum(self._buffer[HEADER.size : body_start])
        return length if len(self._buffer) >= length else None

    @staticmethod
    def _parse(data: bytes) -> Page | None:
        """The page, or None if it is damaged."""
        _, _, flags, granule_position, serial, sequence, crc, segments = HEADER.unpack_from(data)
        if checksum(data[: CHECKSUM.start] + bytes(4) + data[CHECKSUM.stop :]) != crc:
            return None
        body_start = HEADER.size + segments
        lacing, body = data[HEADER.size : body_start], data[body_start:]
        return Page(flags, granule_position, serial, sequence, lacing, body)

    def _skip(self, count: int) -> None:
        del self._buffer[:count]
        self._skipped_bytes += count
        if self._skipped_bytes > MAX_SKIPPED_BYTES or self._damaged_pages > MAX_DAMAGED_PAGES:
            raise InvalidAudio(
                f"not an Ogg Opus stream: {self._skipped_bytes} bytes in a row are no Ogg page, "
                f"{self._damaged_pages} pages had a wrong checksum"
            )


class PacketReader:
    """Joins the packets of one logical stream from its pages, in order.

    A packet that misses a part is left out. One that is longer than MAX_PACKET_BYTES comes one
    byte longer than that: no decoder takes it.
    """

    def __init__(self) -> None:
        self._part: bytearray | None = None
        self._next_sequence_number = 0

    def read(self, page: Page) -> Iterator[bytes]:
        """The packets that end in `page`."""
        in_order = page.sequence_number == self._next_sequence_number
        self._next_sequence_number = (page.sequence_number + 1) & 0xFFFFFFFF
        if not page.is_continued:
            self._part = bytearray()
        elif not in_order:
            self._part = None
        start = 0
        for length in page.lacing:
            if self._part is not None:
                room = MAX_PACKET_BYTES + 1 - len(self._part)
                self._part += page.body[start : start + min(length, room)]
            start += length
            if length < MAX_SEGMENT_BYTES:
                if self._part is not None:
                    yield bytes(self._part)
                self._part = bytearray()


def write_page(packet: bytes, sequence_number: int, *, flags: int = 0) -> bytes:
    """A page with one packet, no longer than MAX_PACKET_BYTES, of stream 0, and no granule
    position."""
    lacing = bytes([MAX_SEGMENT_BYTES] * (len(packet) // MAX_SEGMENT_BYTES))
    lacing += bytes([len(packet) % MAX_SEGMENT_BYTES])
    fields = (CAPTURE_PATTERN, 0, flags, 0, 0, sequence_number)
    page = HEADER.pack(*fields, 0, len(lacing)) + lacing + packet
    return HEADER.pack(*fields, checksum(page), len(lacing)) + lacing + packet
