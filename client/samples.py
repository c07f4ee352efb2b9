"""Samples of any type, channels and rate to mono float32 at 24 kHz, block by block."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import soxr

from client.options import SAMPLE_RATE_HERTZ, FloatArray

# Floats are nominally within [-1, 1]. Clipping and loud mixes go a little beyond; 18 dB beyond is
# not audio, and the service refuses it.
MAX_MAGNITUDE = 8.0
SILENCE_DBFS = -90.0

# The power of the channels' mean, relative to that of unrelated channels: 1 for unrelated channels
# and for a voice on one channel only. Far below that the channels cancel each other.
CANCELS_BELOW = 0.25
AGREES_ABOVE = 0.5
MEMORY_S = 0.3
# The chosen channel is kept until another has this many times its power.
LOUDER_BY = 2.0


class AudioError(Exception):
    """Audio cannot be read or recorded; the message says why and what helps."""


class Resampler:
    """Converts blocks of one rate and any channels to mono float32 at 24 kHz.

    Channels are averaged, since a voice may be on any of them; if they cancel each other (a
    microphone wired out of phase), the loudest is used instead.
    """

    def __init__(self, sample_rate_hertz: float) -> None:
        self.sample_rate_hertz = sample_rate_hertz
        self._received_samples = 0
        self._downmix = _Downmix(sample_rate_hertz)
        self._stream: soxr.ResampleStream | None = None
        if sample_rate_hertz != SAMPLE_RATE_HERTZ:
            self._stream = soxr.ResampleStream(
                sample_rate_hertz, SAMPLE_RATE_HERTZ, num_channels=1, dtype="float32"
            )

    def push(self, block: npt.NDArray[Any]) -> FloatArray:
        """Resample `[samples]` or `[samples, channels]`; the first blocks are held back.

        Raises `AudioError` for samples that are not audio.
        """
        samples = _as_float32(block)
        self._check(samples)
        self._received_samples += len(samples)
        return self._resample(self._downmix.mix(samples))

    def finish(self) -> FloatArray:
        """What is held back until the filter has seen what follows; nothing does."""
        return self._resample(np.zeros(0, np.float32), last=True)

    def _resample(self, mono: FloatArray, *, last: bool = False) -> FloatArray:
        if self._stream is None:
            return mono
        resampled = cast("FloatArray", cast("Any", self._stream).resample_chunk(mono, last))
        # The filter overshoots at loud edges; valid samples must not be refused for that.
        return np.clip(resampled, -MAX_MAGNITUDE, MAX_MAGNITUDE)

    def _check(self, samples: FloatArray) -> None:
        # A NaN fails the comparison too.
        fine = np.abs(samples) <= MAX_MAGNITUDE
        if fine.all():
            return
        row = int(np.argmin(fine.all(axis=1)))
        value = float(samples[row][~fine[row]][0])
        at_s = (self._received_samples + row) / self.sample_rate_hertz
        advice = (
            " These may be int16 values stored as floats: divide them by 32768."
            if math.isfinite(value)
            else ""
        )
        raise AudioError(
            f"The sample at {at_s:.2f} s is {value:g}; samples must be finite and within "
            f"[-1, 1].{advice}"
        )


class _Downmix:
    """`[samples, channels]` → `[samples]`: the mean, or the loudest channel if they cancel."""

    def __init__(self, sample_rate_hertz: float) -> None:
        self._memory_samples = MEMORY_S * sample_rate_hertz
        self._start(1)

    def _start(self, channels: int) -> None:
        self._powers = np.zeros(channels)
        self._mean_power = 0.0
        self._weights = np.full(channels, 1 / channels)
        self._chosen: int | None = None

    def mix(self, samples: FloatArray) -> FloatArray:
        """Any number of channels; a block with another number starts over."""
        channels = samples.shape[1]
        if channels == 1:
            return np.ascontiguousarray(samples[:, 0])
        if channels != len(self._powers):
            self._start(channels)
        was_silent = not self._powers.any()
        self._measure(samples)
        self._choose()
        weights = np.full(channels, 1 / channels)
        if self._chosen is not None:
            weights = np.eye(channels)[self._chosen]
        before, self._weights = self._weights, weights
        if was_silent or np.array_equal(before, weights):
            return np.asarray(samples @ weights, np.float32)
        # A hard switch would click.
        share = np.linspace(0.0, 1.0, len(samples))
        mixed = (samples @ before) * (1 - share) + (samples @ weights) * share
        return np.asarray(mixed, np.float32)

    def _measure(self, samples: FloatArray) -> None:
        if not len(samples):
            return
        # A cheap converter has the same constant offset on all channels; it is not voice.
        centred = samples.astype(np.float64) - samples.mean(axis=0, dtype=np.float64)
        kept = 0.5 ** (len(samples) / self._memory_samples)
        self._powers = self._powers * kept + np.square(centred).sum(axis=0)
        self._mean_power = self._mean_power * kept + float(np.square(centred.mean(axis=1)).sum())

    def _choose(self) -> None:
        unrelated_power = float(self._powers.mean()) / len(self._powers)
        if self._chosen is None and self._mean_power < CANCELS_BELOW * unrelated_power:
            self._chosen = int(np.argmax(self._powers))
        if self._chosen is None:
            return
        if self._mean_power > AGREES_ABOVE * unrelated_power:
            self._chosen = None
        elif self._powers.max() > LOUDER_BY * self._powers[self._chosen]:
            self._chosen = int(np.argmax(self._powers))


def _as_float32(block: npt.NDArray[Any]) -> FloatArray:
    """`[samples]` or `[samples, channels]` of floats or integers as `[samples, channels]`."""
    if np.issubdtype(block.dtype, np.integer):
        if np.issubdtype(block.dtype, np.unsignedinteger):
            raise AudioError(
                f"Samples of type {block.dtype} are not understood; use int16 or float."
            )
        block = block.astype(np.float32) / -float(np.iinfo(block.dtype).min)
    if block.ndim == 1:
        block = block[:, np.newaxis]
    if block.ndim != 2 or not block.shape[1]:
        raise AudioError(
            f"Audio has the shape {block.shape}; it must be [samples] or [samples, channels]."
        )
    with np.errstate(over="ignore"):
        return np.asarray(block, dtype=np.float32)


def measure_dbfs(block: FloatArray) -> float:
    """Root mean square of a block in decibels below full scale."""
    power = float(np.mean(np.square(block))) if block.size else 0.0
    return max(SILENCE_DBFS, 10 * math.log10(power)) if power > 0 else SILENCE_DBFS
