"""Ogg Opus that is damaged, unheard of, or made to harm."""

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.errors import InvalidAudio
from stt_service.engine.ogg_opus import MAX_CHUNK_S, MAX_MALFORMED_PACKETS, OpusDecoder
from tests.ogg_files import (
    LIVE,
    OPUSENC,
    Layout,
    write_ogg,
    write_page,
)
from tests.unit.engine.opus import RATE_HERTZ, audio, decode

# One packet of 120 ms in two bytes: 48 frames of 2.5 ms without anything in them.
BOMB_PACKET = bytes([0b11100011, 48])


class TestDamage:
    @pytest.mark.parametrize("layout", [OPUSENC, LIVE, Layout(segments_per_page=7)])
    def test_cut_off_at_any_byte(self, layout) -> None:
        data = write_ogg(audio(0.3), layout)
        whole = decode(data)
        for end in range(1, len(data), 13):
            decoded = decode(data[:end])
            np.testing.assert_array_equal(decoded, whole[: len(decoded)])

    @pytest.mark.parametrize("bad", [b"", b"\x03", b"\xff\xff\xff", b"\x00" * 61_441])
    def test_a_malformed_packet_is_skipped(self, bad) -> None:
        good = audio()
        damaged = replace(good, packets=[*good.packets[:20], bad, *good.packets[20:]])
        decoded = decode(write_ogg(damaged, replace(LIVE, has_last_page=False)))
        assert len(decoded) == (len(good.packets) * 960 - good.pre_skip) // 2

    def test_malformed_packets_without_an_end_are_refused(self) -> None:
        hopeless = replace(audio(), packets=[b"\xff\xff\xff"] * (MAX_MALFORMED_PACKETS + 1))
        with pytest.raises(InvalidAudio, match="51 packets in a row are malformed"):
            decode(write_ogg(hopeless))

    @given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(1, 255)), max_size=5))
    def test_flipped_bits_cost_their_pages_or_are_named(self, flips) -> None:
        data = bytearray(write_ogg(audio(0.5), LIVE))
        whole = len(decode(bytes(data)))
        for position, bits in flips:
            data[position % len(data)] ^= bits
        try:
            assert len(decode(bytes(data))) <= whole + 480
        except InvalidAudio as error:
            assert "Ogg" in str(error)


def test_a_bomb_is_given_in_bounded_chunks() -> None:
    """255 packets of two bytes are 30 s; a message of 16 MiB would be 175 hours."""
    bomb = replace(audio(), packets=[BOMB_PACKET] * 255 * 100)
    data = write_ogg(bomb, Layout(packets_per_page=255, has_last_page=False))
    assert len(data) < 80_000
    decoder = OpusDecoder(RATE_HERTZ)
    chunks = decoder.decode(data)
    for _ in range(20):
        assert len(next(chunks)) <= (MAX_CHUNK_S + 0.12) * RATE_HERTZ
    # What is not asked for is not decoded.
    assert sum(1 for _ in zip(range(40), chunks, strict=False)) == 40


HEADS = {
    "6 channels in 4 streams; send mono or stereo": struct.pack(
        "<8sBBHIhBBB6s", b"OpusHead", 1, 6, 312, 48_000, 0, 1, 4, 2, bytes(6)
    ),
    "0 channels": struct.pack("<8sBBHIhB", b"OpusHead", 1, 0, 312, 48_000, 0, 0),
    "OpusHead has version 16": struct.pack("<8sBBHIhB", b"OpusHead", 16, 1, 312, 48_000, 0, 0),
    "OpusHead is cut off": b"OpusHead\x01\x01",
    "holds no Opus": b"\x01vorbis" + bytes(23),
}


@pytest.mark.parametrize("named", HEADS)
def test_heads_that_cannot_be_decoded_are_named(named) -> None:
    with pytest.raises(InvalidAudio, match=named):
        decode(write_page([HEADS[named]], flags=2) + write_page([b"x"], sequence_number=1))


def test_a_surround_head_with_one_stream_is_mono_or_stereo() -> None:
    head = struct.pack("<8sBBHIhBBB2s", b"OpusHead", 1, 2, 312, 48_000, 0, 1, 1, 1, b"\x00\x01")
    data = write_ogg(audio())
    data = write_page([head], flags=2) + data[data.index(b"OggS", 1) :]
    np.testing.assert_array_equal(decode(data), decode(write_ogg(audio())))


def test_a_stream_without_comments_is_named() -> None:
    head = write_ogg(replace(audio(), packets=[]))
    with pytest.raises(InvalidAudio, match="no OpusTags"):
        decode(head[: head.index(b"OggS", 1)] + write_page([b"x"], sequence_number=1))
