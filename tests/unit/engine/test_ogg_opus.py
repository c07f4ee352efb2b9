"""Ogg Opus as programs write it, decoded like FFmpeg does."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.ogg_opus import OpusDecoder
from tests.odd_recordings import speech
from tests.ogg_files import (
    FIREFOX,
    LIVE,
    OPUSENC,
    Layout,
    decode_with_ffmpeg,
    encode_opus,
    write_ogg,
    write_page,
)
from tests.unit.engine.opus import RATE_HERTZ, audio, decode


def split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def assert_same_sound(decoded: np.ndarray, expected: np.ndarray, likeness: float = 0.97) -> None:
    """As long, and alike: FFmpeg decodes at 48 kHz and filters, so no sample is the same."""
    assert abs(len(decoded) - len(expected)) <= 1
    length = min(len(decoded), len(expected))
    assert np.corrcoef(decoded[:length], expected[:length])[0, 1] > likeness


@pytest.mark.parametrize("packet_ms", [2.5, 5, 10, 20, 40, 60, 120])
@pytest.mark.parametrize("vbr", ["on", "off", "constrained"])
def test_every_packet_length_and_rate_control(packet_ms, vbr) -> None:
    data = write_ogg(audio(packet_ms=packet_ms, vbr=vbr))
    decoded = decode(data)
    assert len(decoded) == RATE_HERTZ
    assert_same_sound(decoded, decode_with_ffmpeg(data))


@pytest.mark.parametrize("bit_rate", [6_000, 12_000, 31_000, 256_000])
@pytest.mark.parametrize("application", ["voip", "audio", "lowdelay"])
def test_every_mode_of_the_codec(bit_rate, application) -> None:
    """Low rates are SILK, high ones CELT, some in between both at once."""
    data = write_ogg(audio(bit_rate=bit_rate, application=application))
    assert_same_sound(decode(data), decode_with_ffmpeg(data), 0.9)


def test_stereo_is_mixed_down() -> None:
    left = speech(1.0, RATE_HERTZ)
    stereo = encode_opus(np.stack([left, 0.5 * left[::-1]]), RATE_HERTZ, bit_rate=96_000)
    assert stereo.channels == 2
    assert_same_sound(decode(write_ogg(stereo)), (left + 0.5 * left[::-1]) / 2)


@pytest.mark.parametrize("message_bytes", [1_000, 100_000, 10**9])
def test_an_ordinary_file_in_messages_of_any_size(message_bytes) -> None:
    minute = audio(60.0, bit_rate=31_000)
    data = write_ogg(minute)
    assert len(data) > 150_000
    decoded = decode(*split(data, message_bytes))
    assert len(decoded) == 60 * RATE_HERTZ
    assert_same_sound(decoded, decode_with_ffmpeg(data))


LAYOUTS = {
    "opusenc": OPUSENC,
    "firefox": FIREFOX,
    "a packet a page": LIVE,
    "a segment a page": Layout(segments_per_page=1),
    "packets across pages": Layout(segments_per_page=7),
    "joined live": Layout(granule_start=10**9, first_sequence_number=77),
    "comments of many pages": Layout(comments=bytes(300_000)),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_page_layout(name) -> None:
    loud = audio(bit_rate=256_000)
    assert max(map(len, loud.packets)) > 255, "packets of several segments"
    decoded = decode(write_ogg(loud, LAYOUTS[name]))
    end = loud.pre_skip + loud.samples
    if not LAYOUTS[name].has_last_page:
        end = len(loud.packets) * loud.packet_samples
    assert len(decoded) == (end - loud.pre_skip) // 2
    assert_same_sound(decoded[:RATE_HERTZ], speech(1.0, RATE_HERTZ))


@given(st.sampled_from([OPUSENC, FIREFOX, LIVE]), st.lists(st.integers(0, 2**20), max_size=8))
def test_however_the_bytes_are_split_the_samples_are_the_same(layout, cuts) -> None:
    data = write_ogg(audio(0.5), layout)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    messages = [data[a:b] for a, b in pairwise(edges)]
    np.testing.assert_array_equal(decode(*messages), decode(data))


def test_one_byte_at_a_time() -> None:
    data = write_ogg(audio(0.5), FIREFOX)
    np.testing.assert_array_equal(decode(*split(data, 1)), decode(data))


def test_a_page_is_decoded_when_it_is_complete() -> None:
    decoder = OpusDecoder(RATE_HERTZ)
    data = write_ogg(audio(), LIVE)
    pages = [b"OggS" + rest for rest in data.split(b"OggS")[1:]]
    lengths = [sum(map(len, decoder.decode(page))) for page in pages]
    # Head, comments, the packet that holds the pre-skip, then 20 ms each.
    assert lengths[:2] == [0, 0]
    assert lengths[2] == 480 - audio().pre_skip // 2
    assert set(lengths[3:-1]) == {480}


def test_a_burst_is_a_page() -> None:
    decoder = OpusDecoder(RATE_HERTZ)
    assert decoder.burst_s == 0
    list(decoder.decode(write_ogg(audio(), LIVE)[:-1]))
    assert decoder.burst_s == 0.02
    list(decoder.decode(write_ogg(audio(), Layout(packets_per_page=25))))
    assert decoder.burst_s == pytest.approx(0.0065), "what the last packet of the file holds"
    minute = write_ogg(audio(60.0, bit_rate=31_000), Layout(packets_per_page=255))
    list(decoder.decode(minute[: len(minute) // 2]))
    assert decoder.burst_s == 2


class TestChains:
    def test_links_follow_each_other(self) -> None:
        first, second = audio(0.5), audio(0.7, packet_ms=60)
        links = [write_ogg(first), write_ogg(second, replace(LIVE, serial_number=9))]
        decoded = decode(b"".join(links))
        np.testing.assert_array_equal(decoded, np.concatenate([decode(link) for link in links]))
        assert len(decoded) == 1.2 * RATE_HERTZ

    def test_a_file_twice(self) -> None:
        data = write_ogg(audio(0.5))
        np.testing.assert_array_equal(decode(data + data), np.tile(decode(data), 2))

    def test_a_link_that_was_cut_off(self) -> None:
        data = write_ogg(audio(0.5), LIVE)
        whole = decode(data)
        decoded = decode(data[: len(data) // 2], data)
        assert 1.3 * len(whole) < len(decoded) < 1.7 * len(whole)
        np.testing.assert_array_equal(decoded[-len(whole) :], whole)

    def test_of_streams_at_once_the_first_opus_is_heard(self) -> None:
        others = [
            write_page([b"fishead\x00" + bytes(56)], 1, 0, flags=2),
            write_page([b"OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"], 2, 0, flags=2),
        ]
        data = write_ogg(audio(0.5), replace(LIVE, more_first_pages=others))
        video = write_page([b"a picture"], 1, 1)
        pages = [b"OggS" + rest for rest in data.split(b"OggS")[1:]]
        data = b"".join([others[0], *pages[:4], *[page + video for page in pages[4:]]])
        np.testing.assert_array_equal(decode(data), decode(write_ogg(audio(0.5))))


class TestTrimming:
    def test_the_last_page_may_end_before_its_packets_do(self) -> None:
        short = replace(audio(), samples=30_001)
        assert len(decode(write_ogg(short, Layout(packets_per_page=30)))) == 15_000

    def test_a_file_of_one_page(self) -> None:
        short = replace(audio(0.1), samples=100)
        assert len(decode(write_ogg(short, Layout(packets_per_page=255)))) == 50

    @pytest.mark.parametrize("granule_start", [0, -(10**12)])
    def test_granule_positions_that_mean_nothing_cut_nothing(self, granule_start) -> None:
        packets = audio().packets
        pages = [write_page([p], 0x5EED, n + 2, granule_start) for n, p in enumerate(packets)]
        pages[-1] = write_page([packets[-1]], 0x5EED, len(packets) + 1, granule_start, 4)
        head = write_ogg(replace(audio(), packets=[]))
        assert len(decode(head + b"".join(pages))) == len(packets) * 480 - audio().pre_skip // 2

    def test_a_pre_skip_of_several_packets(self) -> None:
        skipping = replace(audio(), pre_skip=4800, samples=48_000 + 312 - 4800)
        decoded = decode(write_ogg(skipping))
        np.testing.assert_array_equal(decoded, decode(write_ogg(audio()))[(4800 - 312) // 2 :])


class TestGain:
    def test_the_gain_of_the_head_is_applied(self) -> None:
        plain = decode(write_ogg(audio()))
        quieter = decode(write_ogg(audio(), replace(OPUSENC, gain_q8_db=-6 * 256)))
        np.testing.assert_allclose(quieter, plain * 10 ** (-6 / 20), atol=1e-6)

    def test_too_much_of_it_clips(self) -> None:
        decoded = decode(write_ogg(audio(), replace(OPUSENC, gain_q8_db=32_767)))
        assert np.abs(decoded).max() == 1


COMMANDS = [
    "ffmpeg -v error -y -i {wav} -c:a libopus -b:a 31k {out}",
    "ffmpeg -v error -y -i {wav} -c:a libopus -page_duration 20000 -application voip {out}",
    "opusenc --quiet --bitrate 31 {wav} {out}",
    "opusenc --quiet --max-delay 20 --framesize 60 --hard-cbr {wav} {out}",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_files_of_the_usual_programs(command, tmp_path) -> None:
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"needs {command.split()[0]}")
    wav, out = tmp_path / "x.wav", tmp_path / "x.opus"
    soundfile.write(wav, speech(3.0, RATE_HERTZ), RATE_HERTZ)
    subprocess.run(command.format(wav=wav, out=out).split(), check=True)
    data = out.read_bytes()
    assert_same_sound(decode(data), decode_with_ffmpeg(data), 0.9)
