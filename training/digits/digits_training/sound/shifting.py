"""The recordings of people in other throats: shorter and higher ones above all, as of women and
children, by Praat's "Change gender" (resampling, and PSOLA for pitch and duration)."""

# parselmouth is typed in part only, and the extra `voices` is not needed to read or check this.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportMissingImports=false

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from digits_training.errors import PlanError
from digits_training.sound.clips import PEAK, Clip
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

_SHIFTED_MARK = "/"
_PITCH_FLOOR_HERTZ, _PITCH_CEILING_HERTZ = 75, 500


@dataclass(frozen=True)
class Throat:
    """Ranges from which each recording's shift is drawn evenly."""

    name: str
    formants: tuple[float, float]
    """The resonances are moved by this factor."""
    pitch_hertz: tuple[float, float]
    """The median of the new pitch."""
    duration: tuple[float, float] = (0.85, 1.15)


THROATS = (
    Throat("woman", (1.08, 1.22), (165, 260)),
    Throat("child", (1.2, 1.38), (230, 340)),
    Throat("man", (0.86, 1.1), (75, 150)),
)


def is_shifted(voice: str) -> bool:
    """Is a voice the shifted one of somebody?"""
    return _SHIFTED_MARK in voice


def name_speaker(voice: str) -> str:
    """Who it was before the shift."""
    return voice.partition(_SHIFTED_MARK)[0]


def shift_clips(clips: Iterable[Clip], rng: np.random.Generator) -> Iterator[Clip]:
    """Each clip in another throat, by turns; the voice is named speaker/throat.

    Raises PlanError when the package is missing.
    """
    if not find_spec("parselmouth"):
        raise PlanError("cannot find praat-parselmouth; add `--extra voices` to `uv run`")
    for number, clip in enumerate(clips):
        yield _shift(clip, THROATS[number % len(THROATS)], rng)


def _shift(clip: Clip, throat: Throat, rng: np.random.Generator) -> Clip:
    from parselmouth import PraatWarning, Sound
    from parselmouth.praat import call

    formants, pitch_hertz, duration = (
        float(rng.uniform(*bounds))
        for bounds in (throat.formants, throat.pitch_hertz, throat.duration)
    )
    sound = Sound(clip.samples.astype(np.float64), SAMPLE_RATE_HERTZ)
    bounds_hertz = (_PITCH_FLOOR_HERTZ, _PITCH_CEILING_HERTZ)
    with warnings.catch_warnings():
        # Of a word without a voiced sound the resonances alone are moved.
        warnings.simplefilter("ignore", PraatWarning)
        shifted: Any = call(
            sound, "Change gender", *bounds_hertz, formants, pitch_hertz, 1.0, duration
        )
    samples = shifted.values[0].astype(np.float32)
    return replace(
        clip,
        voice=f"{clip.voice}{_SHIFTED_MARK}{throat.name}",
        onset_s=clip.onset_s * duration,
        end_s=clip.end_s * duration,
        samples=samples * np.float32(PEAK / max(float(np.abs(samples).max()), 1e-6)),
    )
