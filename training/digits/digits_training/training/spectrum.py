"""The logarithmic mel spectrum: what the encoder learns to tell of a sound, and its variation.

A spectrum is what all speech has in common. An encoder that tells it, and has learnt to from
synthetic sounds alone, cannot learn the six throats of the recordings by heart.
"""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

import functools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from digits_training.vocabulary import SAMPLE_RATE_HERTZ

BANDS = 32
MOMENTS_PER_STEP = 4
"""Of 10 ms each: the encoder's convolutions take a step of 40 ms, with 128 channels."""
STEP_SAMPLES = 960

_MOMENT_SAMPLES = STEP_SAMPLES // MOMENTS_PER_STEP
_WINDOW_SAMPLES = 600
_TRANSFORM_SAMPLES = 1_024
_BAND_HERTZ = (60.0, 4_000.0)
"""Where the recordings of people have anything."""
_FLOOR_POWER = 1e-8
_MIDDLE_DB = -50.0
_UNIT_DB = 15.0
_WARPS = 41

FloatMatrix: TypeAlias = npt.NDArray[np.float32]


def measure_spectrum(audio: torch.Tensor) -> torch.Tensor:
    """[batch, 1, samples] → [batch, MOMENTS_PER_STEP * BANDS, steps], about zero mean, unit scale.

    The last window of a step ends where the step ends, so nothing of it lies in the future.
    """
    padded = F.pad(audio[:, 0], (_WINDOW_SAMPLES - _MOMENT_SAMPLES, 0))
    window = torch.hann_window(_WINDOW_SAMPLES)
    pieces = padded.unfold(1, _WINDOW_SAMPLES, _MOMENT_SAMPLES) * window
    power = torch.fft.rfft(pieces, _TRANSFORM_SAMPLES).abs().square() / window.square().sum()
    level_db = 10 * torch.log10(power @ torch.from_numpy(_make_bands()) + _FLOOR_POWER)
    scaled = (level_db - _MIDDLE_DB) / _UNIT_DB
    return scaled.reshape(len(audio), -1, MOMENTS_PER_STEP * BANDS).transpose(1, 2)


@dataclass(frozen=True)
class Variation:
    """How spectra are varied in training; counts and widths are drawn evenly up to these."""

    equalizer_db: float = 5.0
    """Standard deviation of a smooth curve of gains."""
    warp: float = 0.1
    """Frequencies are stretched by up to this share: longer and shorter throats."""
    masked_bands: int = 6
    band_masks: int = 1
    masked_moments: int = 4
    moment_masks: int = 4


_EQUALIZER_KNOTS = 6


class SpectrumVarier:
    """Varies spectra of whole windows, each in its own way."""

    def __init__(self, variation: Variation) -> None:
        self._variation = variation
        self._warps = torch.from_numpy(_make_warps(variation.warp))

    def vary(self, rng: np.random.Generator, spectra: torch.Tensor) -> torch.Tensor:
        """[batch, MOMENTS_PER_STEP * BANDS, steps] → the same shape."""
        batch, channels, steps = spectra.shape
        moments = spectra.transpose(1, 2).reshape(batch, steps * MOMENTS_PER_STEP, BANDS)
        moments = moments + self._draw_equalizers(rng, batch)
        moments = torch.bmm(moments, self._warps[rng.integers(len(self._warps), size=batch)])
        for window in moments:
            self._mask(rng, window)
        return moments.reshape(batch, steps, channels).transpose(1, 2)

    def _draw_equalizers(self, rng: np.random.Generator, batch: int) -> torch.Tensor:
        knots = rng.standard_normal((batch, 1, _EQUALIZER_KNOTS), np.float32)
        gains = torch.from_numpy(knots) * (self._variation.equalizer_db / _UNIT_DB)
        return F.interpolate(gains, BANDS, mode="linear", align_corners=True)

    def _mask(self, rng: np.random.Generator, window: torch.Tensor) -> None:
        """Put the mean of a stretch in its place, in place. window: [moments, BANDS]."""
        variation = self._variation
        for _ in range(rng.integers(variation.band_masks, endpoint=True)):
            masked = _draw_stretch(rng, BANDS, variation.masked_bands)
            window[:, masked] = window[:, masked].mean()
        for _ in range(rng.integers(variation.moment_masks, endpoint=True)):
            masked = _draw_stretch(rng, len(window), variation.masked_moments)
            window[masked] = window[masked].mean()


def _draw_stretch(rng: np.random.Generator, length: int, longest: int) -> slice:
    width = int(rng.integers(1, longest, endpoint=True))
    start = int(rng.integers(length - width, endpoint=True))
    return slice(start, start + width)


def _to_mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """O'Shaughnessy's formula: 1127 ln(1 + f / 700)."""
    return 1_127 * np.log(1 + hertz / 700)


def _to_hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 700 * (np.exp(mel / 1_127) - 1)


def _list_edges_mel() -> npt.NDArray[np.float64]:
    """Band i rises from edge i to edge i + 1 and falls to edge i + 2."""
    first, last = _to_mel(np.array(_BAND_HERTZ))
    return np.linspace(first, last, BANDS + 2)


@functools.cache
def _make_bands() -> FloatMatrix:
    """Triangles of area one: [frequencies, BANDS]."""
    edges_hertz = _to_hertz(_list_edges_mel())
    frequencies = np.fft.rfftfreq(_TRANSFORM_SAMPLES, 1 / SAMPLE_RATE_HERTZ)[:, None]
    low, middle, high = edges_hertz[:-2], edges_hertz[1:-1], edges_hertz[2:]
    rise = (frequencies - low) / (middle - low)
    fall = (high - frequencies) / (high - middle)
    triangles = np.clip(np.minimum(rise, fall), 0, None)
    return (triangles / triangles.sum(axis=0)).astype(np.float32)


def _make_warps(warp: float) -> FloatMatrix:
    """For each of _WARPS factors a matrix [BANDS, BANDS] that reads each band elsewhere."""
    centers_mel = _list_edges_mel()[1:-1]
    factors = np.linspace(1 - warp, 1 + warp, _WARPS)
    read_mel = _to_mel(_to_hertz(centers_mel) * factors[:, None])
    places = (read_mel - centers_mel[0]) / (centers_mel[1] - centers_mel[0])
    places = np.clip(places, 0, BANDS - 1)[:, None, :]
    # Linear interpolation between the two nearest bands.
    return np.clip(1 - np.abs(np.arange(BANDS)[:, None] - places), 0, None).astype(np.float32)
