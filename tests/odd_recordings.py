"""Recordings as strangers have them: every format, headers of pipes, cut off, damaged."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import soundfile

RATE_HERTZ = 16_000

# container, codec, rate, options
ENCODINGS = {
    "wav": ("wav", "pcm_s16le", RATE_HERTZ, {}),
    "wav24": ("wav", "pcm_s24le", RATE_HERTZ, {}),
    "wav_float": ("wav", "pcm_f32le", RATE_HERTZ, {}),
    "wav_alaw": ("wav", "pcm_alaw", RATE_HERTZ, {}),
    "wav_adpcm": ("wav", "adpcm_ima_wav", RATE_HERTZ, {}),
    "rf64": ("wav", "pcm_s16le", RATE_HERTZ, {"rf64": "always"}),
    "w64": ("w64", "pcm_s16le", RATE_HERTZ, {}),
    "aiff": ("aiff", "pcm_s16be", RATE_HERTZ, {}),
    "au": ("au", "pcm_s16be", RATE_HERTZ, {}),
    "caf": ("caf", "pcm_s16le", RATE_HERTZ, {}),
    "flac": ("flac", "flac", RATE_HERTZ, {}),
    "mp3": ("mp3", "libmp3lame", RATE_HERTZ, {}),
    "mp3_without_length": ("mp3", "libmp3lame", RATE_HERTZ, {"write_xing": "0"}),
    "ogg_opus": ("ogg", "libopus", 48_000, {}),
    "ogg_flac": ("ogg", "flac", RATE_HERTZ, {}),
    "aac": ("adts", "aac", RATE_HERTZ, {}),
    "m4a": ("ipod", "aac", RATE_HERTZ, {}),
    "m4a_alac": ("ipod", "alac", RATE_HERTZ, {}),
    "mp4_fragments": ("mp4", "aac", RATE_HERTZ, {"movflags": "+frag_keyframe+empty_moov"}),
    "webm": ("webm", "libopus", 48_000, {}),
    "mkv": ("matroska", "flac", RATE_HERTZ, {}),
    "mpegts": ("mpegts", "mp2", RATE_HERTZ, {}),
}


def speech(duration_s: float = 3.0, rate_hertz: int = RATE_HERTZ) -> np.ndarray:
    """Something that is different at every moment: a rising tone in a little noise."""
    times = np.arange(round(rate_hertz * duration_s)) / rate_hertz
    noise = np.random.default_rng(0).normal(0, 0.02, len(times))
    return (0.4 * np.sin(2 * np.pi * (200 + 150 * times) * times) + noise).astype(np.float32)


def encode(name: str, pcm: np.ndarray, rate_hertz: int = RATE_HERTZ) -> bytes:
    """A file of `ENCODINGS`, or `ogg_vorbis`, with mono samples in it."""
    if name == "ogg_vorbis":
        return written(pcm, rate_hertz, format="OGG", subtype="VORBIS")
    container_name, codec, codec_rate_hertz, options = ENCODINGS[name]
    file = io.BytesIO()
    with av.open(file, "w", format=container_name, options=options) as container:
        stream = container.add_stream(codec, rate=codec_rate_hertz, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm[np.newaxis], "fltp", "mono")
        frame.sample_rate = rate_hertz
        frame.pts = 0
        resampler = av.AudioResampler(
            stream.codec_context.format, "mono", codec_rate_hertz, stream.frame_size or 1_024
        )
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()


def wav_header(
    data_bytes: int, rate_hertz: int = RATE_HERTZ, channels: int = 1, extra: bytes = b""
) -> bytes:
    """A header of 16 bit samples that promises so many bytes, with `extra` before them."""
    block = channels * 2
    return (
        b"RIFF"
        + struct.pack("<I", min(0xFFFFFFFF, 36 + data_bytes))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, channels, rate_hertz, rate_hertz * block, block, 16)
        + extra
        + b"data"
        + struct.pack("<I", data_bytes)
    )


def int16_bytes(pcm: np.ndarray) -> bytes:
    """Samples as most programs write them."""
    return np.rint(pcm * 32_767).astype("<i2").tobytes()


def written(pcm: np.ndarray, rate_hertz: int = RATE_HERTZ, **options: str) -> bytes:
    """A file by libsndfile, which knows types and channel counts that `encode` does not."""
    file = io.BytesIO()
    soundfile.write(file, pcm, rate_hertz, **{"format": "WAV", **options})
    return file.getvalue()
