import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.errors import InvalidAudio
from stt_service.engine.ogg import (
    MAX_DAMAGED_PAGES,
    MAX_PACKET_BYTES,
    MAX_PAGE_BYTES,
    PacketReader,
    Page,
    PageReader,
    checksum,
)
from stt_service.engine.ogg import write_page as write_one_packet
from tests.ogg_files import cut_pages, ogg_crc, write_page, write_page_of

PAGES = [write_page([b"\0" * 9], 7, 0), write_page([b"\1" * 700], 7, 1)]
LATER = b"".join(write_page([b"x" * 60_000], 7, number) for number in range(2, 7))


def read_pages(*messages: bytes) -> list[Page]:
    reader = PageReader()
    return [page for message in messages for page in reader.read(message)]


def write_packets(packets: list[bytes], segments_per_page: int) -> bytes:
    cuts = cut_pages(packets, 0, segments_per_page)
    return b"".join(
        write_page_of(lacing, body, 7, number, flags=int(continued))
        for number, (lacing, body, continued) in enumerate(cuts)
    )


def read_packets(data: bytes) -> list[bytes]:
    reader = PacketReader()
    return [packet for page in read_pages(data) for packet in reader.read(page)]


@given(st.binary(max_size=1000))
def test_the_checksum_is_that_of_the_rfc(data) -> None:
    assert checksum(data) == ogg_crc(data)


@given(st.lists(st.integers(0, 70_000), max_size=6), st.integers(1, 255), st.data())
def test_packets_of_any_length_in_pages_of_any_length(lengths, segments_per_page, data) -> None:
    packets = [bytes([number]) * length for number, length in enumerate(lengths)]
    written = write_packets(packets, segments_per_page)
    cut = data.draw(st.integers(0, len(written)))
    reader, packet_reader = PageReader(), PacketReader()
    pages = [*reader.read(written[:cut]), *reader.read(written[cut:])]
    read = [packet for page in pages for packet in packet_reader.read(page)]
    assert read == [packet[: MAX_PACKET_BYTES + 1] for packet in packets]


def test_one_byte_at_a_time() -> None:
    written = write_packets([b"", b"a" * 254, b"b" * 255, b"c" * 256, b"d" * 3000], 3)
    assert read_pages(*[bytes([byte]) for byte in written]) == read_pages(written)


@given(st.binary(max_size=5_000))
def test_what_lies_between_pages_is_skipped(garbage) -> None:
    assert read_pages(PAGES[0] + garbage + PAGES[1])[:1] == read_pages(PAGES[0])
    # A false beginning of a page may need the bytes of a whole page to be seen through.
    assert read_pages(PAGES[0] + garbage + PAGES[1] + LATER)[-1].sequence_number == 6


def test_a_damaged_page_is_skipped_alone() -> None:
    damaged = bytearray(PAGES[1])
    damaged[300] ^= 1
    last = write_page([b"z"], 7, 2)
    assert [p.sequence_number for p in read_pages(PAGES[0] + damaged + last)] == [0, 2]


def test_a_page_in_the_middle_of_another_is_found() -> None:
    """As where a recorder was killed and its successor went on in the same file."""
    later = b"".join(write_page([b"y" * 900], 8, number) for number in range(3))
    read = read_pages(PAGES[0] + PAGES[1][:500] + later)
    assert [(p.serial_number, p.sequence_number) for p in read] == [(7, 0), (8, 0), (8, 1), (8, 2)]


def test_a_packet_that_lost_a_part_is_left_out() -> None:
    packets = [b"a" * 600, b"b" * 600, b"c" * 600]
    pages = read_pages(write_packets(packets, 2))
    for lost in range(len(pages)):
        reader = PacketReader()
        kept = [p for page in pages[:lost] + pages[lost + 1 :] for p in reader.read(page)]
        assert 1 <= len(kept) < 3
        assert all(packet in packets for packet in kept)


def test_a_continued_packet_without_a_beginning_is_left_out() -> None:
    page = read_pages(write_page([b"end of something", b"whole"], 7, 5))[0]
    assert list(PacketReader().read(replace(page, flags=1))) == [b"whole"]


def test_the_page_that_the_decoder_gets_is_a_page() -> None:
    for length in [0, 1, 254, 255, 256, MAX_PACKET_BYTES]:
        assert read_packets(write_one_packet(b"p" * length, 3)) == [b"p" * length]


@pytest.mark.parametrize(
    ("beginning", "named"),
    [
        (b"RIFF\x00\x00\x00\x00WAVE", "looks like WAV"),
        (b"\x1a\x45\xdf\xa3\x01", "looks like WebM"),
        (b"ID3\x04\x00", "looks like MP3"),
        (b"Og", None),
        (b"Oggs", "it begins with b'Oggs'$"),
        (b"\x00", r"it begins with b'\\x00'$"),
    ],
)
def test_what_does_not_begin_as_ogg_is_named_at_once(beginning, named) -> None:
    if named is None:
        assert read_pages(beginning) == []
        return
    with pytest.raises(InvalidAudio, match=named):
        read_pages(beginning)
    with pytest.raises(InvalidAudio, match="not an Ogg Opus stream"):
        read_pages(*[bytes([byte]) for byte in beginning])


def test_garbage_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="no Ogg page"):
        read_pages(PAGES[0], *[b"garbage " * 100] * (MAX_PAGE_BYTES // 800 + 1))


def test_false_pages_cost_little() -> None:
    """Each seems to be of the maximum length, so each costs the checksum of all that follows."""
    false_page = b"OggS" + bytes(22) + b"\xff"
    started = time.process_time()
    with pytest.raises(InvalidAudio, match=f"{MAX_DAMAGED_PAGES + 1} pages"):
        read_pages(PAGES[0], *[(false_page + b"\xff" * 255) * 100] * 40)
    assert time.process_time() - started < 1
