"""Any PCM becomes 80 ms frames at the model's rate."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Protocol

import numpy as np
import soundfile
import soxr
import sphn

from stt_service.engine.errors import InvalidAudio, InvalidOptions
from stt_service.engine.model import FloatArray

MIN_SAMPLE_RATE_HERTZ = 8_000
MAX_SAMPLE_RATE_HERTZ = 192_000
# Floats are nominally within [-1, 1]. Clipping and loud mixes exceed that slightly; 18 dB over is
# not audio, most likely int16 samples sent as float32.
MAX_MAGNITUDE = 8.0
# Decoded in pieces of this size: a whole file in one message must not block the event loop.
PIECE_BYTES = 32_768


@dataclass(frozen=True, slots=True)
class Frame:
    """One step's worth of samples at the model's rate.

    `pcm` has shape [frame_samples]; only the first `audio_samples` of it are the
    caller's, the rest is padding. Made-up silence has none.
    """

    pcm: FloatArray
    audio_samples: int

    @property
    def is_silence(self) -> bool:
        return self.audio_samples == 0

    @property
    def audio(self) -> FloatArray:
        return self.pcm[: self.audio_samples]

    @staticmethod
    @cache
    def silence(frame_samples: int) -> "Frame":
        return Frame(np.zeros(frame_samples, dtype=np.float32), 0)


class Decoder(Protocol):
    """Turns bytes into mono float32 samples at the decoder's rate; a sample may be split."""

    def decode(self, data: bytes) -> FloatArray: ...


class PcmDecoder:
    """Samples of a fixed width: little-endian floats, little-endian int16, or G.711 mu-law."""

    def __init__(self, encoding: str) -> None:
        self._dtype = {"pcm_f32le": "<f4", "pcm_s16le": "<i2", "mulaw": "u1"}[encoding]
        self._sample_bytes = np.dtype(self._dtype).itemsize
        self._encoding = encoding
        self._rest = b""

    def decode(self, data: bytes) -> FloatArray:
        data = self._rest + data
        whole = len(data) - len(data) % self._sample_bytes
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], dtype=self._dtype)
        match self._encoding:
            case "pcm_f32le":
                return samples.astype(np.float32)
            case "pcm_s16le":
                return samples.astype(np.float32) / np.float32(32768)
            case _:
                return mulaw_table()[samples]


class OpusDecoder:
    """Opus in an Ogg container, decoded by sphn straight to the requested rate."""

    def __init__(self, sample_rate_hertz: int) -> None:
        self._reader = sphn.OpusStreamReader(sample_rate_hertz)

    def decode(self, data: bytes) -> FloatArray:
        try:
            pcm = self._reader.append_bytes(data)  # pyright: ignore
            return np.asarray(pcm, dtype=np.float32).reshape(-1)
        except ValueError as error:
            raise InvalidAudio(f"not an Ogg Opus stream: {error}") from error


@cache
def mulaw_table() -> FloatArray:
    """The 256 values of G.711 mu-law, as libsndfile expands them; shape [256]."""
    every_code = BytesIO(bytes(range(256)))
    table, _ = soundfile.read(
        every_code, samplerate=8000, channels=1, format="RAW", subtype="ULAW", dtype="float32"
    )
    return np.asarray(table, dtype=np.float32)


class Framer:
    """Cuts one session's audio into frames and keeps the samples of the incomplete one.

    `encoding` is pcm_f32le, pcm_s16le, mulaw or ogg_opus; InvalidOptions if the
    encoding or the rate is none that this service takes.
    """

    def __init__(
        self, encoding: str, sample_rate_hertz: int, model_rate_hertz: int, frame_samples: int
    ) -> None:
        if not MIN_SAMPLE_RATE_HERTZ <= sample_rate_hertz <= MAX_SAMPLE_RATE_HERTZ:
            raise InvalidOptions(
                "sample_rate_hertz",
                f"sample_rate_hertz is {sample_rate_hertz}; it must be between "
                f"{MIN_SAMPLE_RATE_HERTZ} and {MAX_SAMPLE_RATE_HERTZ}, or 0 for {model_rate_hertz}",
            )
        self._decoder: Decoder
        if encoding == "ogg_opus":
            self._decoder = OpusDecoder(model_rate_hertz)
            sample_rate_hertz = model_rate_hertz
        elif encoding in ("pcm_f32le", "pcm_s16le", "mulaw"):
            self._decoder = PcmDecoder(encoding)
        else:
            raise InvalidOptions("encoding", f"unknown encoding {encoding!r}")
        self._rates = (sample_rate_hertz, model_rate_hertz)
        self._resampler = self._make_resampler()
        self._frame_samples = frame_samples
        self._pending: FloatArray = np.zeros(0, dtype=np.float32)
        self._received_samples = 0

    @property
    def received_s(self) -> float:
        """Length of the audio received."""
        return self._received_samples / self._rates[0]

    def push(self, data: bytes) -> Iterator[list[Frame]]:
        """Decode `data` piece by piece; gives the full frames of each piece.

        InvalidAudio if a sample is not finite or far outside [-1, 1].
        """
        for start in range(0, len(data), PIECE_BYTES):
            samples = self._decoder.decode(data[start : start + PIECE_BYTES])
            self._check(samples)
            self._received_samples += len(samples)
            yield self._cut(self._resample(samples, last=False))

    def cut_rest(self) -> list[Frame]:
        """The frames of everything received and not yet framed, the last one padded with silence.

        The next sample pushed starts a new frame.
        """
        nothing = np.zeros(0, dtype=np.float32)
        frames = self._cut(self._resample(nothing, last=True))
        self._resampler = self._make_resampler()
        rest = self._pending
        if len(rest):
            padded = np.zeros(self._frame_samples, dtype=np.float32)
            padded[: len(rest)] = rest
            frames.append(Frame(padded, len(rest)))
            self._pending = nothing
        return frames

    def _check(self, samples: FloatArray) -> None:
        # NaN fails this comparison too.
        fine = np.abs(samples) <= MAX_MAGNITUDE
        if not fine.all():
            index = int(np.argmin(fine))
            raise InvalidAudio(
                f"sample {self._received_samples + index} is {samples[index]:g}; float samples "
                "must be finite and within [-1, 1]. Is this int16 audio? Then say so: "
                "encoding pcm_s16le"
            )

    def _make_resampler(self) -> soxr.ResampleStream | None:
        source_hertz, target_hertz = self._rates
        if source_hertz == target_hertz:
            return None
        return soxr.ResampleStream(source_hertz, target_hertz, num_channels=1, dtype="float32")

    def _resample(self, samples: FloatArray, *, last: bool) -> FloatArray:
        if self._resampler is None:
            return samples
        chunk = self._resampler.resample_chunk(samples, last=last)  # pyright: ignore
        return np.asarray(chunk, dtype=np.float32)

    def _cut(self, samples: FloatArray) -> list[Frame]:
        pending = np.concatenate([self._pending, samples])
        whole = len(pending) - len(pending) % self._frame_samples
        self._pending = pending[whole:]
        rows = pending[:whole].reshape(-1, self._frame_samples)
        return [Frame(row, self._frame_samples) for row in rows]
