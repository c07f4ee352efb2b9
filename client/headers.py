"""How long a recording claims to be, read from its first and last bytes; pure.

FFmpeg reports the length in most headers. The exceptions are here: FFmpeg accepts a WAV file that
is shorter than its header says, estimates the length of an MP3 file without a Xing header, and
does not check that an Ogg file has its last page.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Programs that write into a pipe cannot go back and fill in a length: ffmpeg leaves 0xFFFFFFFF,
# sox 0x7FFFF000 (0x7F000000 in AIFF), arecord some 2 GiB, GStreamer 0.
UNKNOWN_FROM_BYTES = 0x7EFF_0000

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_RAW_FORMATS = {
    (_PCM, 8): "u8",
    (_PCM, 16): "s16le",
    (_PCM, 24): "s24le",
    (_PCM, 32): "s32le",
    (_FLOAT, 32): "f32le",
    (_FLOAT, 64): "f64le",
    (_ALAW, 8): "alaw",
    (_MULAW, 8): "mulaw",
}
_MP3_RATES_HERTZ = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}


@dataclass(frozen=True)
class WavHeader:
    """A RIFF/WAVE header up to the first sample."""

    format_tag: int
    channels: int
    sample_rate_hertz: int
    bytes_per_second: int
    sample_bits: int
    data_start: int
    """Position of the first sample."""
    data_bytes: int | None
    """None if the header does not say."""

    @property
    def raw_format(self) -> str | None:
        """FFmpeg's name for these samples without a header; None if they are compressed."""
        return _RAW_FORMATS.get((self.format_tag, self.sample_bits))

    @property
    def declared_s(self) -> float | None:
        """Length of the audio in seconds, according to the header."""
        if self.data_bytes is None or not self.bytes_per_second:
            return None
        return self.data_bytes / self.bytes_per_second


def read_wav_header(head: bytes) -> WavHeader | None:
    """The header at the start of a file; None if it is another format or not complete yet."""
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position, described = 12, b""
    while position + 8 <= len(head):
        name, size = head[position : position + 4], _uint32(head, position + 4)
        body = position + 8
        if name == b"data":
            return _wav_header(described, body, size) if len(described) >= 16 else None
        if name == b"fmt ":
            described = head[body : body + size]
        position = body + size + size % 2
    return None


def _wav_header(described: bytes, data_start: int, data_bytes: int) -> WavHeader:
    tag, channels, rate, bytes_per_second, _, bits = struct.unpack_from("<HHIIHH", described)
    if tag == _EXTENSIBLE and len(described) >= 26:
        (tag,) = struct.unpack_from("<H", described, 24)
    is_known = 0 < data_bytes < UNKNOWN_FROM_BYTES
    return WavHeader(
        tag, channels, rate, bytes_per_second, bits, data_start, data_bytes if is_known else None
    )


def read_mp3_length_s(head: bytes) -> float | None:
    """The length according to an MP3 file's Xing or Info header; None without one."""
    start = 0
    if head[:3] == b"ID3" and len(head) >= 10:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start = 10 + size + (10 if head[5] & 0x10 else 0)
    start = head.find(b"\xff", start, start + 4096)
    if start < 0 or len(head) < start + 64:
        return None
    version, is_mono = head[start + 1] >> 3 & 3, head[start + 3] >> 6 == 3
    rates = _MP3_RATES_HERTZ.get(version)
    rate_index = head[start + 2] >> 2 & 3
    if rates is None or rate_index == 3 or head[start + 1] & 0xE0 != 0xE0:
        return None
    # The header follows the side information of the first frame.
    side_bytes = (17 if is_mono else 32) if version == 3 else (9 if is_mono else 17)
    tag = start + 4 + side_bytes
    if head[tag : tag + 4] not in (b"Xing", b"Info") or not head[tag + 7] & 1:
        return None
    frames = int.from_bytes(head[tag + 8 : tag + 12], "big")
    return frames * (1152 if version == 3 else 576) / rates[rate_index]


def is_ended_ogg(tail: bytes) -> bool:
    """Whether an Ogg file ends with a complete page that is marked as the last."""
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return False
    segments_end = page + 27 + tail[page + 26]
    page_end = segments_end + sum(tail[page + 27 : segments_end])
    return bool(tail[page + 5] & 4) and page_end <= len(tail)


def _uint32(data: bytes, position: int) -> int:
    return int.from_bytes(data[position : position + 4], "little")
