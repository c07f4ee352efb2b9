"""Lengths in headers, against files of known length."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.headers import is_ended_ogg, read_mp3_length_s, read_wav_header
from tests.odd_recordings import encode, speech, wav_header, written

# ffmpeg, sox, arecord, an interrupted recorder, GStreamer.
LENGTHS_OF_PIPES = [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00, 0x80000000, 0x7FFFFFFF, 0]


@given(st.integers(1, 1 << 30), st.sampled_from([8_000, 16_000, 48_000]), st.integers(1, 8))
def test_a_wav_header_promises_its_data(data_bytes: int, rate_hertz: int, channels: int) -> None:
    header = read_wav_header(wav_header(data_bytes, rate_hertz, channels))

    assert header is not None
    assert header.declared_s == pytest.approx(data_bytes / rate_hertz / channels / 2)
    assert (header.raw_format, header.channels) == ("s16le", channels)


@pytest.mark.parametrize("data_bytes", LENGTHS_OF_PIPES)
def test_what_a_pipe_writes_for_an_unknown_length_is_no_promise(data_bytes: int) -> None:
    header = read_wav_header(wav_header(data_bytes))

    assert header is not None
    assert header.declared_s is None


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_samples_begin_after_whatever_chunks_come_before(one: bytes, two: bytes) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    head = wav_header(100, extra=chunk(b"LIST", one) + chunk(b"bext", two))
    header = read_wav_header(head + bytes(100))

    assert header is not None
    assert header.data_start == len(head)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_none(junk: bytes) -> None:
    for head in (junk, b"RIFF0000WAVE" + junk, b"ID3" + junk, b"\xff\xfb" + junk):
        read_wav_header(head)
        read_mp3_length_s(head)
        is_ended_ogg(head)


@pytest.mark.parametrize("rate_hertz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("duration_s", [1.0, 7.3])
def test_an_mp3_header_promises_its_length(
    rate_hertz: int, channels: int, duration_s: float
) -> None:
    pcm = np.stack([speech(duration_s, rate_hertz)] * channels, axis=1)
    length_s = read_mp3_length_s(written(pcm, rate_hertz, format="MP3"))

    # Two frames belong to the encoder.
    assert length_s == pytest.approx(duration_s, abs=0.2)


def test_an_mp3_without_a_length_promises_none() -> None:
    assert read_mp3_length_s(encode("mp3_without_length", speech())) is None


@pytest.mark.parametrize("name", ["ogg_opus", "ogg_vorbis", "ogg_flac"])
def test_an_ogg_file_says_that_it_is_complete(name: str) -> None:
    whole = encode(name, speech())

    assert is_ended_ogg(whole)
    assert not is_ended_ogg(whole[: len(whole) // 2])
