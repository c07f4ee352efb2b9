"""Any audio becomes 80 ms frames at the model's rate."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import soxr

from stt_service.engine.errors import InvalidOptions
from stt_service.engine.model import FloatArray
from stt_service.engine.ogg_opus import OpusDecoder
from stt_service.engine.pcm import PcmDecoder

MIN_SAMPLE_RATE_HERTZ = 8_000
MAX_SAMPLE_RATE_HERTZ = 192_000


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
    """Turns bytes into mono float32 samples, wherever the bytes are split."""

    @property
    def burst_s(self) -> float:
        """How much audio the encoding gives at once; 0 if each sample comes as soon as it can."""
        ...

    def decode(self, data: bytes) -> Iterable[FloatArray]:
        """The samples that `data` completes, in pieces that are quick to decode; InvalidAudio."""
        ...


class Framer:
    """Cuts one session's audio into frames and keeps the samples of the incomplete one.

    `encoding` is pcm_f32le, pcm_s16le, mulaw, alaw or ogg_opus; InvalidOptions if
    the encoding or the rate is none that this service takes.
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
        elif encoding in ("pcm_f32le", "pcm_s16le", "mulaw", "alaw"):
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

    @property
    def burst_s(self) -> float:
        """How much audio came at once, and so how long a live source may take for the next."""
        return self._decoder.burst_s

    def push(self, data: bytes) -> Iterable[list[Frame]]:
        """Decode `data` piece by piece; gives the full frames of each piece, once.

        InvalidAudio if a sample is not finite or far outside [-1, 1], or is not Ogg Opus where
        that was promised. The samples of a frame may be read-only.
        """
        return map(self._take, self._decoder.decode(data))

    def cut_rest(self) -> list[Frame]:
        """The frames of everything received and not yet framed, the last one padded with silence.

        The next sample pushed starts a new frame.
        """
        frames, rest = self.show_rest()
        self._pending = np.zeros(0, dtype=np.float32)
        return frames if rest is None else [*frames, rest]

    def show_rest(self) -> tuple[list[Frame], Frame | None]:
        """The same, with the padded frame by itself, if there is one. The next frame begins with
        its samples once more."""
        nothing = np.zeros(0, dtype=np.float32)
        frames = self._cut(self._resample(nothing, last=True))
        self._resampler = self._make_resampler()
        rest = self._pending
        if not len(rest):
            return frames, None
        padded = np.zeros(self._frame_samples, dtype=np.float32)
        padded[: len(rest)] = rest
        return frames, Frame(padded, len(rest))

    def _take(self, samples: FloatArray) -> list[Frame]:
        self._received_samples += len(samples)
        return self._cut(self._resample(samples, last=False))

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
        # A message of whole frames, as most clients send, is cut without a copy.
        if not len(self._pending) and len(samples) == self._frame_samples:
            return [Frame(samples, self._frame_samples)]
        pending = np.concatenate([self._pending, samples]) if len(self._pending) else samples
        whole = len(pending) - len(pending) % self._frame_samples
        self._pending = pending[whole:]
        rows = pending[:whole].reshape(-1, self._frame_samples)
        return [Frame(row, self._frame_samples) for row in rows]
