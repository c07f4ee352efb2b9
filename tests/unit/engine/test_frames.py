from itertools import pairwise

import numpy as np
import pytest
import soundfile
import sphn
from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.errors import InvalidAudio, InvalidOptions
from stt_service.engine.frames import Frame, Framer
from stt_service.engine.pcm import PIECE_BYTES
from tests.ogg_files import LIVE, encode_opus, write_ogg
from tests.unit.engine.models import FRAME_SAMPLES, SAMPLE_RATE_HERTZ

OGG = write_ogg(encode_opus(np.zeros(4800), SAMPLE_RATE_HERTZ), LIVE)
OGG_PARTS = [b"OggS", OGG, *[b"OggS" + page for page in OGG.split(b"OggS")[1:]]]


def make_framer(encoding: str = "pcm_f32le", rate_hertz: int = SAMPLE_RATE_HERTZ) -> Framer:
    return Framer(encoding, rate_hertz, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)


def push_all(framer: Framer, *messages: bytes) -> list[Frame]:
    frames = [frame for message in messages for piece in framer.push(message) for frame in piece]
    return frames + framer.cut_rest()


def join(frames: list[Frame]) -> np.ndarray:
    return np.concatenate([frame.audio for frame in frames] or [np.zeros(0, np.float32)])


def make_samples(count: int) -> np.ndarray:
    return np.sin(np.arange(count) * 0.05).astype(np.float32) * 0.5


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.integers(0, 3 * FRAME_SAMPLES), st.lists(st.integers(0, 2**20), max_size=8))
def test_however_the_bytes_are_split_the_samples_are_the_same(count, cuts) -> None:
    samples = make_samples(count)
    frames = push_all(make_framer(), *split(samples.tobytes(), cuts))
    np.testing.assert_array_equal(join(frames), samples)
    assert all(frame.audio_samples == FRAME_SAMPLES for frame in frames[:-1])
    assert all(len(frame.pcm) == FRAME_SAMPLES for frame in frames)


def test_one_byte_at_a_time() -> None:
    samples = make_samples(2000)
    messages = [bytes([byte]) for byte in samples.tobytes()]
    np.testing.assert_array_equal(join(push_all(make_framer(), *messages)), samples)


def test_a_large_message_comes_in_pieces() -> None:
    samples = make_samples(10 * FRAME_SAMPLES)
    pieces = list(make_framer().push(samples.tobytes()))
    assert max(map(len, pieces)) <= PIECE_BYTES // (4 * FRAME_SAMPLES) + 1
    assert sum(map(len, pieces)) == 10


def test_the_sample_after_a_cut_starts_a_new_frame() -> None:
    framer = make_framer()
    samples = make_samples(3000)
    first = push_all(framer, samples[:2000].tobytes())
    second = push_all(framer, samples[2000:].tobytes())
    assert [frame.audio_samples for frame in first] == [1920, 80]
    assert [frame.audio_samples for frame in second] == [1000]
    np.testing.assert_array_equal(join(first + second), samples)
    assert framer.received_s == pytest.approx(3000 / SAMPLE_RATE_HERTZ)


def test_int16_is_scaled_to_one() -> None:
    data = np.array([-32768, 0, 16384], dtype="<i2").tobytes()
    np.testing.assert_array_equal(join(push_all(make_framer("pcm_s16le"), data)), [-1, 0, 0.5])


@pytest.mark.parametrize(("encoding", "subtype"), [("mulaw", "ULAW"), ("alaw", "ALAW")])
def test_g711_is_libsndfiles(tmp_path, encoding: str, subtype: str) -> None:
    samples = make_samples(4000)
    soundfile.write(tmp_path / "x.raw", samples, 24000, format="RAW", subtype=subtype)
    data = (tmp_path / "x.raw").read_bytes()
    decoded = join(push_all(make_framer(encoding), data))
    assert np.abs(decoded - samples).max() < 0.02


@pytest.mark.parametrize("rate_hertz", [8000, 16000, 44100, 48000])
def test_other_rates_are_resampled_without_losing_time(rate_hertz) -> None:
    seconds = np.arange(rate_hertz) / rate_hertz
    tone = (0.5 * np.sin(2 * np.pi * 440 * seconds)).astype(np.float32)
    framer = make_framer(rate_hertz=rate_hertz)
    resampled = join(push_all(framer, *split(tone.tobytes(), [1001, 50001])))
    assert len(resampled) == pytest.approx(SAMPLE_RATE_HERTZ, abs=2)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(resampled)) / SAMPLE_RATE_HERTZ)
    middle = slice(1000, -1000)
    assert np.abs(resampled[middle] - expected[middle]).max() < 0.01
    assert framer.received_s == pytest.approx(1.0)


def test_ogg_opus_is_decoded_while_it_comes() -> None:
    writer = sphn.OpusStreamWriter(SAMPLE_RATE_HERTZ)
    tone = make_samples(24000)
    packets = [writer.append_pcm(tone[n : n + 480]) for n in range(0, 24000, 480)]
    decoded = join(push_all(make_framer("ogg_opus", 48000), *packets))
    assert len(decoded) == pytest.approx(24000, abs=3 * 1920)
    assert np.abs(decoded).max() == pytest.approx(0.5, abs=0.1)


@given(
    st.sampled_from(["pcm_f32le", "pcm_s16le", "mulaw", "alaw", "ogg_opus"]),
    st.sampled_from([8_000, 16_000, 24_000, 44_100, 192_000]),
    st.lists(
        st.one_of(
            st.binary(max_size=3000),
            st.lists(st.floats(width=32), max_size=50).map(
                lambda values: np.array(values, dtype="<f4").tobytes()
            ),
            st.sampled_from(OGG_PARTS),
        ),
        max_size=6,
    ),
)
def test_whatever_is_sent_becomes_frames_or_a_named_error(encoding, rate_hertz, messages) -> None:
    framer = make_framer(encoding, rate_hertz)
    try:
        frames = push_all(framer, *messages)
    except InvalidAudio as error:
        assert str(error)
    else:
        assert all(frame.pcm.shape == (FRAME_SAMPLES,) for frame in frames)
        assert all(frame.pcm.dtype == np.float32 for frame in frames)
        assert all(np.isfinite(frame.pcm).all() for frame in frames)


def test_whole_frames_are_not_copied() -> None:
    message = make_samples(2 * FRAME_SAMPLES).tobytes()
    frames = push_all(make_framer(), message)
    assert [frame.pcm.base is not None for frame in frames] == [True, True]
    assert np.shares_memory(frames[1].pcm, np.frombuffer(message, dtype=np.float32))


def test_what_is_no_ogg_is_refused() -> None:
    with pytest.raises(InvalidAudio, match="not an Ogg Opus stream"):
        push_all(make_framer("ogg_opus"), b"RIFF" * 5000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 30000.0, -9.0])
def test_a_sample_that_is_no_audio_is_named(value) -> None:
    samples = make_samples(100)
    samples[42] = value
    with pytest.raises(InvalidAudio, match=r"sample 42 is .*int16"):
        push_all(make_framer(), samples.tobytes())


def test_loud_audio_passes() -> None:
    samples = make_samples(100) * 3
    np.testing.assert_array_equal(join(push_all(make_framer(), samples.tobytes())), samples)


@pytest.mark.parametrize("rate_hertz", [1, 7999, 192001, 2**31])
def test_impossible_rates_are_refused(rate_hertz) -> None:
    with pytest.raises(InvalidOptions, match="between 8000 and 192000"):
        make_framer(rate_hertz=rate_hertz)


def test_unknown_encodings_are_refused() -> None:
    with pytest.raises(InvalidOptions, match="flac"):
        make_framer("flac")
