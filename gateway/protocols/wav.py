"""A WAV file that arrives in pieces: what its header says, and the samples after it."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

from gateway.protocols.codec import ProtocolError
from stt.v1 import stt_pb2

MAX_HEADER_BYTES = 64 * 1024
"""Before the samples there may be other chunks, such as names."""

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE

SAMPLE_RATES_HERTZ = (8_000, 48_000)

_ENCODINGS = {
    (PCM, 16): stt_pb2.ENCODING_PCM_S16LE,
    (FLOAT, 32): stt_pb2.ENCODING_PCM_F32LE,
    (MULAW, 8): stt_pb2.ENCODING_MULAW,
    (ALAW, 8): stt_pb2.ENCODING_ALAW,
}
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_RIFF_BYTES = 12
_SUBFORMAT_AT = 24
_UNKNOWN_SIZE = 0x7FFF0000
"""Such sizes are a sign that the writer knew none."""


@dataclass(frozen=True)
class WavFormat:
    """How the samples are written."""

    tag: int
    """PCM, FLOAT, ALAW or MULAW."""
    channels: int
    sample_rate_hertz: int
    sample_bits: int

    @property
    def encoding(self) -> stt_pb2.Encoding.ValueType:
        """How the service is told that they are written. Raises `ProtocolError` if it cannot be."""
        encoding = _ENCODINGS.get((self.tag, self.sample_bits))
        lowest, highest = SAMPLE_RATES_HERTZ
        is_known_rate = lowest <= self.sample_rate_hertz <= highest
        if encoding is None or self.channels != 1 or not is_known_rate:
            raise ProtocolError(
                "The WAV file must be mono, of 16-bit, float, mu-law or A-law samples, "
                f"{lowest} to {highest} of them a second."
            )
        return encoding


class WavReader:
    """Takes a file's bytes; its samples come out once the header has been read."""

    def __init__(self) -> None:
        self.format: WavFormat | None = None
        self._header = bytearray()
        self._left: int | None = None

    def feed(self, data: bytes) -> bytes:
        """The samples in `data`. Raises `ProtocolError` for what is no WAV file."""
        if self._left is None:
            self._header += data
            found = self._read_header()
            if found is None:
                if len(self._header) > MAX_HEADER_BYTES:
                    raise ProtocolError("The WAV file has no samples in its first 64 KiB.")
                return b""
            data = found
        samples = data[: self._left]
        if self._left is not None:
            self._left -= len(samples)
        return samples

    def _read_header(self) -> bytes | None:
        """What follows the header; None while it is not complete."""
        header = bytes(self._header)
        if header[:4] != b"RIFF"[: len(header)] or header[8:12] != b"WAVE"[: len(header[8:12])]:
            raise ProtocolError("The audio is not a WAV file, which input_format says it is.")
        at = _RIFF_BYTES
        while at + _CHUNK.size <= len(header):
            name, size = _CHUNK.unpack_from(header, at)
            at += _CHUNK.size
            if name == b"data":
                if self.format is None:
                    raise ProtocolError("The WAV file does not say how its samples are written.")
                # A file that is written while it is sent cannot know its size.
                self._left = size if 0 < size < _UNKNOWN_SIZE else sys.maxsize
                self._header.clear()
                return header[at:]
            if name == b"fmt " and at + size <= len(header):
                self.format = _parse_format(header[at : at + size])
            # Chunks begin at even places.
            at += size + size % 2
        return None


def _parse_format(chunk: bytes) -> WavFormat:
    if len(chunk) < _FORMAT.size:
        raise ProtocolError("The WAV file does not say how its samples are written.")
    tag, channels, rate, _, _, bits = _FORMAT.unpack_from(chunk)
    if tag == EXTENSIBLE and len(chunk) >= _SUBFORMAT_AT + 2:
        (tag,) = struct.unpack_from("<H", chunk, _SUBFORMAT_AT)
    return WavFormat(tag, channels, rate, bits)
