"""How a Riva call says that its audio is written."""

import struct
import wave
from io import BytesIO

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stt.nvidia_riva import riva_asr_pb2, riva_audio_pb2
from stt_service.engine.errors import InvalidAudio, InvalidOptions
from stt_service.riva_audio import ENCODINGS, MAX_HEADER_BYTES, AudioFormat, AudioReader

Config = riva_asr_pb2.RecognitionConfig
SAMPLES = np.arange(1, 401, dtype="<i2").tobytes()
LINEAR = AudioFormat("pcm_s16le", 16_000)


def make_wav(samples: bytes = SAMPLES, rate: int = 16_000, channels: int = 1) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def read(config: Config, *pieces: bytes) -> tuple[AudioFormat | None, bytes]:
    reader = AudioReader(config)
    audio = b"".join([*map(reader.feed, pieces), reader.finish()])
    return reader.format, audio


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"encoding": riva_audio_pb2.LINEAR_PCM, "sample_rate_hertz": 16_000}, LINEAR),
        ({"encoding": riva_audio_pb2.MULAW, "sample_rate_hertz": 8000}, AudioFormat("mulaw", 8000)),
        ({"encoding": riva_audio_pb2.ALAW, "sample_rate_hertz": 8000}, AudioFormat("alaw", 8000)),
        ({"encoding": riva_audio_pb2.OGGOPUS}, AudioFormat("ogg_opus", 0)),
        ({"encoding": riva_audio_pb2.LINEAR_PCM}, None),
        ({"sample_rate_hertz": 16_000}, None),
    ],
)
def test_a_config_that_says_all_is_enough(fields, found) -> None:
    assert AudioReader(Config(**fields)).format == found


@given(st.lists(st.integers(1, 60), max_size=40), st.booleans())
def test_a_wav_header_is_taken_off_wherever_it_is_split(sizes, is_announced: bool) -> None:
    config = Config(encoding=1, sample_rate_hertz=16_000) if is_announced else Config()
    # What follows the samples is no sound.
    rest = make_wav() + b"LIST\4\0\0\0name"
    pieces = []
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    assert read(config, *pieces, rest) == (LINEAR, SAMPLES)


@given(st.binary(max_size=300), st.integers(1, 20))
def test_bare_samples_pass_whatever_they_are(samples: bytes, size: int) -> None:
    """Also where they begin like a header and go on as none."""
    config = Config(encoding=riva_audio_pb2.MULAW, sample_rate_hertz=8000)
    for data in (samples, b"RIF" + samples, b"RIFF" + bytes(4) + b"WAV" + samples):
        if data.startswith((b"OggS", b"fLaC")) or data[8:12] == b"WAVE":
            continue
        pieces = [data[n : n + size] for n in range(0, len(data), size)]
        assert read(config, *pieces)[1] == data


def test_what_is_not_named_is_linear_pcm_as_with_riva() -> None:
    assert read(Config(sample_rate_hertz=16_000), SAMPLES) == (LINEAR, SAMPLES)


def test_ogg_needs_no_name() -> None:
    found, audio = read(Config(sample_rate_hertz=16_000), b"Ogg", b"S...")
    assert (found, audio) == (AudioFormat("ogg_opus", 0), b"OggS...")


@pytest.mark.parametrize(
    ("subtype", "encoding"),
    [("PCM_16", "pcm_s16le"), ("FLOAT", "pcm_f32le"), ("ULAW", "mulaw"), ("ALAW", "alaw")],
)
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_files_of_libsndfile(kind: str, subtype: str, encoding: str) -> None:
    file = BytesIO()
    soundfile.write(file, np.zeros(100), 8000, format=kind, subtype=subtype)
    found, audio = read(Config(), file.getvalue())
    assert found == AudioFormat(encoding, 8000)
    assert len(audio) == 100 * {"pcm_s16le": 2, "pcm_f32le": 4}.get(encoding, 1)


@pytest.mark.parametrize("size", [0, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_file_that_is_written_while_it_is_sent(size: int) -> None:
    whole = make_wav()
    at = whole.index(b"data") + 4
    piped = whole[:at] + struct.pack("<I", size) + whole[at + 4 :]
    assert read(Config(), piped) == (LINEAR, SAMPLES)


@pytest.mark.parametrize(
    ("fields", "option", "said"),
    [
        ({"encoding": riva_audio_pb2.FLAC}, "encoding", "FLAC, which is not served"),
        ({"encoding": 77}, "encoding", "send LINEAR_PCM, MULAW, ALAW, OGGOPUS"),
        ({"audio_channel_count": 2}, "audio_channel_count", "send mono"),
        ({}, "sample_rate_hertz", "no header of the audio says it"),
        ({"encoding": riva_audio_pb2.MULAW}, "sample_rate_hertz", "no header of the audio says it"),
    ],
)
def test_a_config_that_cannot_be_served(fields, option: str, said: str) -> None:
    with pytest.raises(InvalidOptions, match=said) as caught:
        read(Config(**fields), b"1234567890123456")
    assert caught.value.option == f"config.{option}"


@pytest.mark.parametrize(
    ("fields", "audio", "said"),
    [
        ({}, b"fLaC", "FLAC, which is not served"),
        ({"encoding": 1, "sample_rate_hertz": 8000}, make_wav(), "8000 Hz, .* 16000 Hz"),
        ({"encoding": 3, "sample_rate_hertz": 16_000}, make_wav(), "mulaw at .* pcm_s16le at"),
        ({"encoding": 1, "sample_rate_hertz": 16_000}, b"OggS", "pcm_s16le, .* ogg_opus"),
        ({"encoding": 4}, make_wav(), "ogg_opus at 16000 Hz|ogg_opus, but"),
        ({}, make_wav(channels=2), "2 channel"),
        ({}, make_wav()[:12] + b"data\0\0\0\0", "does not say how"),
        ({}, make_wav()[:12] + b"fmt \2\0\0\0\1\0", "does not say how"),
        ({}, make_wav()[:12] + b"LIST\xff\xff\0\0" + bytes(MAX_HEADER_BYTES), "first 64 KiB"),
    ],
)
def test_audio_that_is_not_what_was_said(fields, audio: bytes, said: str) -> None:
    with pytest.raises(InvalidAudio, match=said):
        read(Config(**fields), audio)


@given(st.lists(st.binary(max_size=100)), st.integers(0, 5), st.sampled_from([0, 8000]))
def test_any_bytes_are_read_or_refused_in_a_sentence(pieces, encoding: int, rate: int) -> None:
    try:
        read(Config(encoding=encoding, sample_rate_hertz=rate), *pieces)
    except (InvalidAudio, InvalidOptions) as error:
        assert str(error)


def test_every_encoding_has_a_name_of_ours() -> None:
    named = {*ENCODINGS, riva_audio_pb2.ENCODING_UNSPECIFIED, riva_audio_pb2.FLAC}
    assert named == set(riva_audio_pb2.AudioEncoding.values())
