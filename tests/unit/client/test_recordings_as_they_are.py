"""Recordings of every kind, whole and not, from files and out of pipes."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.audio import STANDARD_INPUT, AudioError, FileSource
from client.options import SAMPLE_RATE_HERTZ
from tests.odd_recordings import (
    ENCODINGS,
    encode,
    int16_bytes,
    speech,
    wav_header,
    written,
)
from tests.unit.client.hearing import assert_is, hear, hear_both_ways, pipe_with

KINDS = [*ENCODINGS, "ogg_vorbis"]
# These have no length in their headers, so a missing part cannot be noticed.
WITHOUT_LENGTH = {"mp3_without_length", "aac", "mpegts", "w64", "caf"}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_format_is_heard_from_a_file_and_out_of_a_pipe(
    tmp_path: Path, kind: str
) -> None:
    for heard, complaint in await hear_both_ways(tmp_path, encode(kind, speech())):
        assert complaint == ""
        assert_is(heard, speech())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WITHOUT_LENGTH])
@pytest.mark.parametrize("share", [0.9, 0.5])
async def test_what_is_cut_off_is_heard_and_told(tmp_path: Path, kind: str, share: float) -> None:
    whole = encode(kind, speech(6.0))
    for heard, complaint in await hear_both_ways(tmp_path, whole[: int(len(whole) * share)]):
        assert "cut off" in complaint
        # A phone writes the index last; without it nothing can be decoded.
        if kind not in ("m4a", "m4a_alac"):
            assert "recording" in complaint or "descriptor" in complaint
            assert 0.2 < len(heard) / SAMPLE_RATE_HERTZ < 6.0 * share + 0.3


@pytest.mark.parametrize("promised", [0xFFFFFFFF, 0x7FFFF000, 0x7FFFFF00, 0x80000000, 0])
@pytest.mark.parametrize("extra", [b"", b"LIST\x04\x00\x00\x00INFO"])
async def test_a_wav_that_does_not_know_its_length_is_heard_whole(
    tmp_path: Path, promised: int, extra: bytes
) -> None:
    data = wav_header(promised, extra=extra) + int16_bytes(speech())
    for heard, complaint in await hear_both_ways(tmp_path, data):
        assert complaint == ""
        assert len(heard) == 3 * SAMPLE_RATE_HERTZ


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "is empty: not one byte"),
        (wav_header(0), "holds a header and no audio"),
        (wav_header(2) + b"\1\0", r"holds only 0\.062 ms of audio"),
        (b"<html><body>403 Forbidden</body></html>\n", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of git-lfs"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n", "text"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "text"),
        (int16_bytes(speech()), "without a header.*ffmpeg -f s16le"),
        (bytes(range(256)) * 16, "cannot be read as audio"),
        (encode("flac", speech())[:100], "cut off|no audio"),
    ],
)
async def test_what_holds_no_audio_is_never_a_success(
    tmp_path: Path, data: bytes, complaint: str
) -> None:
    for heard, told in await hear_both_ways(tmp_path, data):
        assert re.search(complaint, told), told
        assert len(heard) < 100
        assert "\n" not in told


@given(st.binary(min_size=1, max_size=3_000), st.sampled_from([*KINDS, ""]))
@settings(max_examples=60)
def test_damage_never_ends_in_another_error(junk: bytes, kind: str) -> None:
    data = bytearray(encode(kind, speech(1.0)) if kind else b"")
    middle = len(data) // 2
    data[middle : middle + len(junk)] = junk

    async def run() -> None:
        with pipe_with(bytes(data)) as reading:
            await hear(FileSource(reading))

    asyncio.run(run())


async def test_a_damaged_middle_is_told_and_the_rest_is_heard(tmp_path: Path) -> None:
    data = bytearray(encode("mp3", speech(6.0)))
    data[len(data) // 2 : len(data) // 2 + 300] = b"\xaa" * 300
    for heard, complaint in await hear_both_ways(tmp_path, bytes(data)):
        assert "is damaged" in complaint
        assert len(heard) > 5.5 * SAMPLE_RATE_HERTZ


@pytest.mark.parametrize("value", [float("nan"), 20_000.0])
async def test_floats_that_are_no_audio_name_the_file(tmp_path: Path, value: float) -> None:
    pcm = speech()
    pcm[24_000] = value
    for heard, complaint in await hear_both_ways(tmp_path, written(pcm, subtype="FLOAT")):
        assert "recording: The sample at 1.50 s" in complaint or "descriptor" in complaint
        assert 1.3 < len(heard) / SAMPLE_RATE_HERTZ <= 1.5


async def test_tags_in_any_encoding_and_a_cover_are_no_hindrance(tmp_path: Path) -> None:
    text = b"\0" + "Größe".encode("latin-1") + b"\xff\xfe"
    tag = b"TIT2" + len(text).to_bytes(4, "big") + b"\0\0" + text
    cover = b"\0image/jpeg\0\3\0\xff\xd8" + bytes(range(256)) * 8_192
    tag += b"APIC" + len(cover).to_bytes(4, "big") + b"\0\0" + cover
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    data = b"ID3\3\0\0" + size + tag + encode("mp3", speech())
    for heard, complaint in await hear_both_ways(tmp_path, data):
        assert complaint == ""
        assert_is(heard, speech())


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("missing.wav", "There is no file .*missing.wav"),
        (".", "is a folder"),
        ("/dev/null", "is a device"),
        ("x" * 300, "cannot be read"),
        ("nul\0byte", "cannot be read"),
        ("socket", "is a device"),
    ],
)
def test_what_is_no_recording_says_why(tmp_path: Path, name: str, complaint: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(AudioError, match=complaint):
            FileSource(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(b"")
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        FileSource(path)


@pytest.mark.parametrize("name", ["-dash.wav", "[red]x.wav", "a\nb.wav", "größe-🎤.wav"])
async def test_a_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encode("wav", speech())[:20_000])
    _, complaint = await hear(FileSource(path))

    assert "cut off" in complaint
    assert name.replace("\n", "\\n") in complaint
    assert "\n" not in complaint


async def test_a_name_that_is_no_text_is_only_a_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    path.write_bytes(encode("wav", speech()))
    source = FileSource(path)
    heard, complaint = await hear(source)

    assert complaint == ""
    assert_is(heard, speech())
    assert source.name.endswith("caf\\xe9.wav")


def test_standard_input_has_many_names() -> None:
    for name in (STANDARD_INPUT, "/dev/stdin", Path("/dev/stdin"), "/dev/fd/0"):
        assert FileSource(name).name == "standard input"
