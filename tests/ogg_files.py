"""Ogg Opus as strangers have it: any page layout, packet length, trimming and chain.

PyAV makes the Opus packets; the pages are written here, apart from the code that reads them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

import av
import numpy as np

OPUS_RATE_HERTZ = 48_000
SERIAL_NUMBER = 0x5EED


@dataclass(frozen=True)
class OpusAudio:
    """Packets of equal length, and how many samples at 48 kHz of them are the recording.

    The first `pre_skip` samples are the encoder's, and so is what follows the last one.
    """

    packets: Sequence[bytes]
    packet_samples: int
    pre_skip: int
    samples: int
    channels: int = 1


def encode_opus(
    pcm: np.ndarray,
    rate_hertz: int,
    *,
    packet_ms: float = 20,
    bit_rate: int = 32_000,
    vbr: str = "on",
    application: str = "audio",
) -> OpusAudio:
    """Opus packets of `pcm`, shape [samples] or [channels, samples]."""
    pcm = np.atleast_2d(np.asarray(pcm, dtype=np.float32))
    layout = "mono" if len(pcm) == 1 else "stereo"
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate = OPUS_RATE_HERTZ
    encoder.layout = layout
    encoder.format = "flt"
    encoder.bit_rate = bit_rate
    encoder.time_base = Fraction(1, OPUS_RATE_HERTZ)
    encoder.options = {
        "frame_duration": f"{packet_ms:g}",
        "vbr": vbr,
        "application": application,
    }
    encoder.open()
    packet_samples = round(packet_ms * OPUS_RATE_HERTZ / 1000)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm), "fltp", layout)
    frame.sample_rate = rate_hertz
    frame.pts = 0
    resampler = av.AudioResampler("flt", layout, OPUS_RATE_HERTZ, packet_samples)
    packets: list[bytes] = []
    samples = 0
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        samples += piece.samples
        packets += [bytes(packet) for packet in encoder.encode(piece)]
    packets += [bytes(packet) for packet in encoder.encode(None)]
    (pre_skip,) = struct.unpack_from("<H", encoder.extradata, 10)
    return OpusAudio(packets, packet_samples, pre_skip, samples, len(pcm))


@dataclass(frozen=True)
class Layout:
    """How packets are laid in pages: so many a page, or pages cut at so many segments."""

    packets_per_page: int = 50
    segments_per_page: int | None = None
    serial_number: int = SERIAL_NUMBER
    first_sequence_number: int = 0
    has_last_page: bool = True
    granule_start: int = 0
    comments: bytes = b""
    gain_q8_db: int = 0
    more_first_pages: Sequence[bytes] = field(default_factory=tuple)


# Firefox's MediaRecorder: pages are written when they pass 4 kB, the last is not marked.
FIREFOX = Layout(packets_per_page=32, has_last_page=False, comments=b"\x00" * 4)
# opusenc: pages of a second, 512 bytes of padding after the comments.
OPUSENC = Layout(packets_per_page=50, comments=b"\x00" * 512)
LIVE = Layout(packets_per_page=1)


def write_ogg(audio: OpusAudio, layout: Layout = OPUSENC) -> bytes:
    """One link: head, comments and audio."""
    head = struct.pack(
        "<8sBBHIhB",
        b"OpusHead",
        1,
        audio.channels,
        audio.pre_skip,
        OPUS_RATE_HERTZ,
        layout.gain_q8_db,
        0,
    )
    comments = b"OpusTags" + struct.pack("<I", 4) + b"test" + bytes(4) + layout.comments
    serial, number = layout.serial_number, layout.first_sequence_number
    pages = [write_page([head], serial, number, flags=2), *layout.more_first_pages]
    number += 1
    for lacing, body, continued in cut_pages([comments], 1, None):
        pages.append(write_page_of(lacing, body, serial, number, flags=int(continued)))
        number += 1
    end = audio.pre_skip + audio.samples
    cuts = cut_pages(audio.packets, layout.packets_per_page, layout.segments_per_page)
    done = 0
    for index, (lacing, body, continued) in enumerate(cuts):
        ended = sum(length < 255 for length in lacing)
        done += ended
        is_last = layout.has_last_page and index == len(cuts) - 1
        granule = done * audio.packet_samples
        granule = layout.granule_start + (min(granule, end) if is_last else granule)
        flags = continued | (4 if is_last else 0)
        pages.append(write_page_of(lacing, body, serial, number, granule if ended else -1, flags))
        number += 1
    return b"".join(pages)


def cut_pages(
    packets: Sequence[bytes], packets_per_page: int, segments_per_page: int | None
) -> list[tuple[bytes, bytes, bool]]:
    """Lacing and body of each page, and whether its first packet is continued."""
    segments = [
        (packet[start : start + 255], start + 255 > len(packet))
        for packet in packets
        for start in range(0, len(packet) + 1, 255)
    ]
    pages: list[tuple[bytes, bytes, bool]] = []
    page: list[bytes] = []
    ended, continued = 0, False
    for data, ends in segments:
        page.append(data)
        ended += ends
        full = len(page) == (segments_per_page or 255)
        if full or (segments_per_page is None and ended == packets_per_page):
            pages.append((bytes(map(len, page)), b"".join(page), continued))
            page, ended, continued = [], 0, not ends
    if page:
        pages.append((bytes(map(len, page)), b"".join(page), continued))
    return pages


def write_page(
    packets: Sequence[bytes],
    serial_number: int = SERIAL_NUMBER,
    sequence_number: int = 0,
    granule_position: int = 0,
    flags: int = 0,
) -> bytes:
    """One page with whole packets in it."""
    ((lacing, body, _),) = cut_pages(packets, len(packets) or 1, None) or [(b"", b"", False)]
    return write_page_of(lacing, body, serial_number, sequence_number, granule_position, flags)


def write_page_of(
    lacing: bytes,
    body: bytes,
    serial_number: int,
    sequence_number: int,
    granule_position: int = 0,
    flags: int = 0,
) -> bytes:
    """One page; flags are 1 continued, 2 first, 4 last."""
    fields = ("<4sBBqIIIB", b"OggS", 0, flags, granule_position, serial_number, sequence_number)
    page = struct.pack(*fields, 0, len(lacing)) + lacing + body
    return struct.pack(*fields, ogg_crc(page), len(lacing)) + lacing + body


def ogg_crc(data: bytes) -> int:
    """As RFC 3533 words it: polynomial 0x04c11db7, from 0, nothing reversed."""
    table, crc = _crc_table(), 0
    for byte in data:
        crc = (crc << 8 & 0xFFFFFFFF) ^ table[crc >> 24 ^ byte]
    return crc


@cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 1 << 31 else 0)) & 0xFFFFFFFF
        table.append(crc)
    return table


def decode_with_ffmpeg(data: bytes) -> np.ndarray:
    """What FFmpeg hears in a file, at 24 kHz, mono."""
    resampler = av.AudioResampler("fltp", "mono", 24_000)
    pieces = []
    with av.open(io.BytesIO(data)) as container:
        for frame in container.decode(audio=0):
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
    pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return np.concatenate(pieces)
