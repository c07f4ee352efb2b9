"""Opus in Ogg (RFC 7845): a stream of bytes becomes mono samples, page by page."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import sphn

from stt_service.engine.errors import InvalidAudio
from stt_service.engine.model import FloatArray
from stt_service.engine.ogg import (
    FIRST,
    MAX_PACKET_BYTES,
    PacketReader,
    Page,
    PageReader,
    write_page,
)
from stt_service.engine.pcm import PIECE_BYTES

# Pre-skip and granule positions count samples at this rate, whatever the rate decoded to.
GRANULE_RATE_HERTZ = 48_000
# How much audio is given at once: a page of 800 bytes may hold 30 s.
MAX_CHUNK_S = 0.5
# opusenc and FFmpeg write pages of a second at most. A page of half a minute is no live one.
MAX_BURST_S = 2.0
# A stream with so many malformed packets in a row is not Opus, whatever its head says.
MAX_MALFORMED_PACKETS = 50

_MONO_HEAD = struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, GRANULE_RATE_HERTZ, 0, 0)
_NO_COMMENTS = struct.pack("<8sII", b"OpusTags", 0, 0)


@dataclass(frozen=True, slots=True)
class Head:
    """What an OpusHead packet says: samples to drop at the start, at 48 kHz, and a factor."""

    pre_skip: int
    gain: float

    @classmethod
    def parse(cls, packet: bytes) -> Self:
        """Read an OpusHead packet; InvalidAudio if it is none that this decoder takes."""
        try:
            _, version, channels, pre_skip, _, gain_q8_db, family = struct.unpack_from(
                "<8sBBHIhB", packet
            )
            streams = packet[19] if family else 1
        except (struct.error, IndexError):
            raise InvalidAudio("not an Ogg Opus stream: its OpusHead is cut off") from None
        if version >= 16:
            raise InvalidAudio(f"OpusHead has version {version}; versions below 16 are known")
        if not 1 <= channels <= 2 or streams != 1:
            raise InvalidAudio(
                f"the Opus stream has {channels} channels in {streams} streams; send mono or stereo"
            )
        return cls(pre_skip, 10 ** (gain_q8_db / 256 / 20))


class PacketDecoder:
    """sphn's libopus, one packet a call: it decodes at most 5 s a call, and then fails.

    Stereo becomes the mean of both channels.
    """

    def __init__(self, sample_rate_hertz: int) -> None:
        self._reader = sphn.OpusStreamReader(sample_rate_hertz)
        self._pages = 0
        self._append(_MONO_HEAD, FIRST)
        self._append(_NO_COMMENTS)

    def decode(self, packet: bytes) -> FloatArray | None:
        """The packet's samples, shape [samples]; None if it is malformed."""
        # An empty packet would be concealed with 5 s of sound.
        if not 0 < len(packet) <= MAX_PACKET_BYTES:
            return None
        try:
            return self._append(packet)
        except ValueError:
            return None

    def _append(self, packet: bytes, flags: int = 0) -> FloatArray:
        page = write_page(packet, self._pages & 0xFFFFFFFF, flags=flags)
        self._pages += 1
        return np.asarray(self._reader.append_bytes(page), dtype=np.float32)  # pyright: ignore


class Link:
    """One Opus stream of a chain: its head, its comments, then its audio."""

    def __init__(self, page: Page, sample_rate_hertz: int) -> None:
        self.serial_number = page.serial_number
        self._rate_hertz = sample_rate_hertz
        self._packets = PacketReader()
        self._head = Head.parse(b"".join(self._packets.read(page)))
        self._decoder = PacketDecoder(sample_rate_hertz)
        self._samples_to_skip = self._count_samples(self._head.pre_skip)
        self._granule_position = 0
        self._malformed_packets = 0
        self.has_comments = False

    def decode(self, page: Page) -> Iterator[FloatArray]:
        """The samples of each packet that ends in `page`; one that is malformed has none."""
        samples_left = self._count_kept(page)
        for packet in self._packets.read(page):
            if not self.has_comments:
                self._take_comments(packet)
                continue
            samples = self._decode_packet(packet)
            if samples_left is not None:
                samples = samples[:samples_left]
                samples_left -= len(samples)
            skipped = min(self._samples_to_skip, len(samples))
            self._samples_to_skip -= skipped
            yield samples[skipped:]

    def _take_comments(self, packet: bytes) -> None:
        if not packet.startswith(b"OpusTags"):
            raise InvalidAudio("not an Ogg Opus stream: no OpusTags after its OpusHead")
        self.has_comments = True

    def _count_kept(self, page: Page) -> int | None:
        """How many samples of the page belong to the stream; None if all do.

        Encoders fill the last packet. The granule position of the last page says where the audio
        ended; one that has not grown says nothing.
        """
        before, position = self._granule_position, page.granule_position
        if position < 0:
            return None
        self._granule_position = position
        return (
            self._count_samples(position - before) if page.is_last and position > before else None
        )

    def _decode_packet(self, packet: bytes) -> FloatArray:
        samples = self._decoder.decode(packet)
        if samples is not None:
            self._malformed_packets = 0
            return samples if self._head.gain == 1 else samples * np.float32(self._head.gain)
        self._malformed_packets += 1
        if self._malformed_packets > MAX_MALFORMED_PACKETS:
            raise InvalidAudio(
                f"not an Ogg Opus stream: {self._malformed_packets} packets in a row are malformed"
            )
        return np.zeros(0, dtype=np.float32)

    def _count_samples(self, granules: int) -> int:
        return granules * self._rate_hertz // GRANULE_RATE_HERTZ


def join(chunk: list[FloatArray]) -> FloatArray:
    """The samples of some packets, clipped as players do: a head's gain may be +128 dB."""
    samples = np.concatenate(chunk)
    if not np.isfinite(samples).all():
        raise InvalidAudio("the Opus stream decodes to numbers that are not finite")
    return np.clip(samples, -1, 1)


class OpusDecoder:
    """Ogg Opus as it is streamed and stored: mono or stereo, any packet length, chained.

    A page is decoded when it is complete. What is damaged is skipped (see PageReader): it has no
    samples, and the audio after it follows at once. So does the audio after a gap in the granule
    positions. Of streams that are multiplexed the first Opus one is decoded.
    """

    def __init__(self, sample_rate_hertz: int) -> None:
        self._rate_hertz = sample_rate_hertz
        self._max_chunk_samples = round(MAX_CHUNK_S * sample_rate_hertz)
        self._pages = PageReader()
        self._link: Link | None = None
        # In the group of first pages, with which a physical stream and each link of it begins.
        self._in_first_pages = False
        self._page_samples = 0

    @property
    def burst_s(self) -> float:
        """How much audio the last page held."""
        return min(self._page_samples / self._rate_hertz, MAX_BURST_S)

    def decode(self, data: bytes) -> Iterator[FloatArray]:
        """The samples of the pages that `data` completes, in chunks of about MAX_CHUNK_S.

        A chunk is given, though perhaps an empty one, for every PIECE_BYTES.
        """
        for start in range(0, len(data), PIECE_BYTES):
            chunk: list[FloatArray] = [np.zeros(0, dtype=np.float32)]
            chunk_samples = 0
            for samples in self._decode_pages(data[start : start + PIECE_BYTES]):
                chunk.append(samples)
                chunk_samples += len(samples)
                if chunk_samples >= self._max_chunk_samples:
                    yield join(chunk)
                    chunk, chunk_samples = chunk[:1], 0
            yield join(chunk)

    def _decode_pages(self, data: bytes) -> Iterator[FloatArray]:
        for page in self._pages.read(data):
            if page.is_first:
                self._take_first_page(page)
                continue
            self._in_first_pages = False
            if self._link is None:
                raise InvalidAudio(
                    "the Ogg stream holds no Opus: none of its streams has an OpusHead"
                )
            if page.serial_number == self._link.serial_number:
                self._page_samples = 0
                for samples in self._link.decode(page):
                    self._page_samples += len(samples)
                    yield samples

    def _take_first_page(self, page: Page) -> None:
        if not self._in_first_pages:
            self._in_first_pages = True
            self._link = None
        if self._link is None and page.body.startswith(b"OpusHead"):
            self._link = Link(page, self._rate_hertz)
