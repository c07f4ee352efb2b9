"""Synthetic sounds that are no speech: coloured noise, hum, clicks, music, a murmur of voices."""

# scipy is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from collections.abc import Callable

import numpy as np
import scipy.signal

from digits_training.sound.clips import ClipBank, FloatArray
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

NOISE_SECONDS = 20.0
_SAMPLES = int(NOISE_SECONDS * SAMPLE_RATE_HERTZ)
_MURMURING_VOICES = 12


def make_coloured(rng: np.random.Generator, exponent: float) -> FloatArray:
    """Noise whose power falls as 1/frequency^exponent: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(_SAMPLES))
    frequencies = np.maximum(np.fft.rfftfreq(_SAMPLES, 1 / SAMPLE_RATE_HERTZ), 20.0)
    return _normalize(np.fft.irfft(spectrum * frequencies ** (-exponent / 2), _SAMPLES))


def make_hum(rng: np.random.Generator) -> FloatArray:
    """Mains hum: 50 or 60 Hz and its harmonics."""
    times_s = np.arange(_SAMPLES) / SAMPLE_RATE_HERTZ
    mains_hertz = rng.choice([50.0, 60.0])
    return _normalize(
        sum(
            rng.uniform(0, 1)
            / n
            * np.sin(2 * np.pi * n * mains_hertz * times_s + rng.uniform(0, 6))
            for n in range(1, 12)
        )
    )


def make_clicks(rng: np.random.Generator) -> FloatArray:
    """Knocks and key strokes: short resonances at random moments."""
    sound = np.zeros(_SAMPLES)
    for at in rng.integers(0, _SAMPLES - SAMPLE_RATE_HERTZ // 4, int(NOISE_SECONDS * 2)):
        length = int(rng.uniform(0.005, 0.12) * SAMPLE_RATE_HERTZ)
        times_s = np.arange(length) / SAMPLE_RATE_HERTZ
        tone = np.sin(2 * np.pi * rng.uniform(80, 5_000) * times_s) + rng.standard_normal(length)
        sound[at : at + length] += rng.uniform(0.1, 1) * tone * np.exp(-times_s * 5 / times_s[-1])
    return _normalize(sound)


def make_music(rng: np.random.Generator) -> FloatArray:
    """Notes of a scale with harmonics, in chords and melodies, over a beat."""
    sound = np.zeros(_SAMPLES)
    beat_s = rng.uniform(0.2, 0.6)
    root_hertz = rng.uniform(80, 300)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16])
    for beat in range(int(NOISE_SECONDS / beat_s) - 4):
        for _ in range(rng.integers(1, 4)):
            start = int(beat * beat_s * SAMPLE_RATE_HERTZ)
            length = int(beat_s * rng.uniform(0.5, 4) * SAMPLE_RATE_HERTZ)
            times_s = np.arange(min(length, _SAMPLES - start)) / SAMPLE_RATE_HERTZ
            hertz = root_hertz * 2 ** (rng.choice(scale) / 12)
            vibrato = rng.uniform(0, 0.01) * np.sin(2 * np.pi * 5 * times_s)
            note = sum(
                rng.uniform(0, 1) / n * np.sin(2 * np.pi * n * hertz * (times_s + vibrato / 30))
                for n in range(1, 8)
            )
            attack = np.minimum(times_s / rng.uniform(0.005, 0.08), 1)
            sound[start : start + len(times_s)] += (
                note * attack * np.exp(-times_s * rng.uniform(0.5, 6))
            )
    return _normalize(sound)


def make_murmur(rng: np.random.Generator, bank: ClipBank) -> FloatArray:
    """Many voices at once, backwards, so that no word can be understood."""
    sound = np.zeros(_SAMPLES)
    for _ in range(_MURMURING_VOICES):
        at = 0
        while at < _SAMPLES:
            clip = bank.clips[rng.integers(len(bank.clips))].samples[::-1]
            clip = clip[: _SAMPLES - at]
            sound[at : at + len(clip)] += clip * rng.uniform(0.3, 1)
            at += len(clip) + int(rng.uniform(0, 0.2) * SAMPLE_RATE_HERTZ)
    return _normalize(sound)


def make_noises(rng: np.random.Generator, bank: ClipBank, *, repeats: int = 1) -> list[FloatArray]:
    """Forty stretches of twenty seconds, or `repeats` times forty; the root mean square is one."""
    makers: list[Callable[[], FloatArray]] = []
    makers += [
        lambda exponent=exponent: make_coloured(rng, exponent)
        for exponent in (0, 0, 0, 0.5, 0.5, 1, 1, 1, 1, 1.5, 2, 2)
    ]
    makers += [lambda: make_hum(rng)] * 3
    makers += [lambda: make_clicks(rng)] * 5
    makers += [lambda: make_music(rng)] * 12
    makers += [lambda: make_murmur(rng, bank)] * 8
    return [make() for make in makers * repeats]


def _normalize(sound: object) -> FloatArray:
    """Take out what no microphone carries, and set the root mean square to one."""
    high_pass = scipy.signal.butter(2, 40, "highpass", fs=SAMPLE_RATE_HERTZ, output="sos")
    filtered = np.asarray(scipy.signal.sosfilt(high_pass, np.asarray(sound, np.float64)))
    return (filtered / np.sqrt(np.mean(filtered**2))).astype(np.float32)
