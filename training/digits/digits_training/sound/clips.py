"""One spoken word with the bounds of its sound, and a bank of such words on disk."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import soxr

from digits_training.errors import PlanError
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

FloatArray: TypeAlias = npt.NDArray[np.float32]

PEAK = 0.5
_ENVELOPE_SECONDS = 0.02
_AUDIBLE_SHARE_OF_PEAK = 0.05
_CLOSURE_SECONDS = 0.15
# Weak consonants at the edges are part of the word although they are not loud enough to bound it.
MARGIN_BEFORE_SECONDS = 0.12
MARGIN_AFTER_SECONDS = 0.2
_FADE_SECONDS = 0.008
_INT16_SCALE = 32_767


class Part(NamedTuple):
    """A word of a sound, and where it lies in it."""

    word: str
    onset_s: float
    end_s: float


@dataclass(frozen=True)
class Clip:
    """A word in 24 kHz mono, peak 0.5 or less; the sound of it lies in [onset_s, end_s].

    `rest` are the words that were said in the same breath behind it.
    """

    word: str
    voice: str
    human: bool
    onset_s: float
    end_s: float
    samples: FloatArray
    rest: tuple[Part, ...] = ()


def cut_clip(word: str, voice: str, *, human: bool, samples: FloatArray, rate_hertz: int) -> Clip:
    """Resample a recording of one word, find its sound, and keep little more than that.

    Raises ValueError when the recording holds no sound.
    """
    if rate_hertz != SAMPLE_RATE_HERTZ:
        samples = _resample(samples, rate_hertz)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        raise ValueError(f"the recording of {word!r} by {voice} is silent")
    first, last = find_sound(samples)
    start = max(0, first - int(MARGIN_BEFORE_SECONDS * SAMPLE_RATE_HERTZ))
    stop = last + int(MARGIN_AFTER_SECONDS * SAMPLE_RATE_HERTZ)
    return Clip(
        word=word,
        voice=voice,
        human=human,
        onset_s=(first - start) / SAMPLE_RATE_HERTZ,
        end_s=(last - start) / SAMPLE_RATE_HERTZ,
        samples=(samples[start:stop] * (PEAK / peak)).astype(np.float32),
    )


def find_sound(samples: FloatArray) -> tuple[int, int]:
    """First and last sample of the loudest stretch whose 20 ms envelope is above 5 % of its peak.

    A closure inside a word, as before the t of "eight", does not end it; a click long after it does
    not prolong it.
    """
    envelope = _measure_envelope(samples)
    audible = np.flatnonzero(envelope > _AUDIBLE_SHARE_OF_PEAK * envelope.max())
    breaks = np.flatnonzero(np.diff(audible) > _CLOSURE_SECONDS * SAMPLE_RATE_HERTZ) + 1
    stretches = np.split(audible, breaks)
    loudest = max(stretches, key=lambda stretch: float(envelope[stretch].sum()))
    return int(loudest[0]), int(loudest[-1])


def cut_at(
    voice: str, parts: Sequence[Part], *, samples: FloatArray, start_s: float, stop_s: float
) -> Clip:
    """Cut words that were said in one breath, known to lie at `parts`, out of 24 kHz.

    Their first sound and their last are found as cut_clip finds them, where they lie further in.
    """
    start, stop = (round(at_s * SAMPLE_RATE_HERTZ) for at_s in (start_s, stop_s))
    cut = samples[start:stop].copy()
    fade = np.linspace(
        0, 1, min(len(cut), int(_FADE_SECONDS * SAMPLE_RATE_HERTZ)), dtype=np.float32
    )
    cut[: len(fade)] *= fade
    cut[-len(fade) :] *= fade[::-1]
    envelope = _measure_envelope(cut)
    audible = np.flatnonzero(envelope > _AUDIBLE_SHARE_OF_PEAK * envelope.max())
    first_s, last_s = (float(at) / SAMPLE_RATE_HERTZ for at in (audible[0], audible[-1]))
    shift_s = start / SAMPLE_RATE_HERTZ
    moved = [Part(word, onset_s - shift_s, end_s - shift_s) for word, onset_s, end_s in parts]
    moved[0] = moved[0]._replace(onset_s=min(max(moved[0].onset_s, first_s), moved[0].end_s))
    moved[-1] = moved[-1]._replace(end_s=max(min(moved[-1].end_s, last_s), moved[-1].onset_s))
    return Clip(
        word=moved[0].word,
        voice=voice,
        human=False,
        onset_s=moved[0].onset_s,
        end_s=moved[0].end_s,
        samples=(cut * (PEAK / float(np.abs(cut).max()))).astype(np.float32),
        rest=tuple(moved[1:]),
    )


def _measure_envelope(samples: FloatArray) -> npt.NDArray[np.float64]:
    """The sum of the absolute values in the 20 ms around each sample."""
    width = int(_ENVELOPE_SECONDS * SAMPLE_RATE_HERTZ)
    padded = np.pad(np.abs(samples), (width // 2 + 1, width - width // 2))
    sums = np.cumsum(padded, dtype=np.float64)
    return sums[width : width + len(samples)] - sums[: len(samples)]


def _resample(samples: FloatArray, rate_hertz: int) -> FloatArray:
    resample = cast(Callable[..., FloatArray], soxr.resample)  # pyright: ignore[reportUnknownMemberType]
    return resample(samples, rate_hertz, SAMPLE_RATE_HERTZ)


class ClipBank:
    """Clips grouped by voice and by word, in a fixed order so that a seed means the same draw."""

    def __init__(self, clips: Iterable[Clip]) -> None:
        self.clips = list(clips)
        self._by_voice: dict[str, dict[str, list[Clip]]] = {}
        for clip in self.clips:
            self._by_voice.setdefault(clip.voice, {}).setdefault(clip.word, []).append(clip)

    def get_voices(self, *, human: bool) -> list[str]:
        """The voices that are (or are not) human, sorted."""
        return sorted({clip.voice for clip in self.clips if clip.human == human})

    def get_words(self, voice: str) -> dict[str, list[Clip]]:
        """What a voice says: word → its recordings."""
        return self._by_voice[voice]

    def filter(self, keep: Callable[[Clip], bool]) -> "ClipBank":
        """A bank of the clips that `keep` is true for."""
        return ClipBank(clip for clip in self.clips if keep(clip))

    def save(self, path: Path) -> None:
        """Write the bank as one .npz; a reader never sees half a file."""
        labels = [
            {key: value for key, value in asdict(clip).items() if key != "samples"}
            for clip in self.clips
        ]
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            labels=np.array(json.dumps(labels)),
            lengths=np.array([len(clip.samples) for clip in self.clips], np.int64),
            audio=np.concatenate(
                [np.round(clip.samples * _INT16_SCALE).astype(np.int16) for clip in self.clips]
            ),
        )
        partial.replace(path)

    @classmethod
    def load_all(cls, paths: Iterable[Path]) -> "ClipBank":
        """Several banks as one; see load."""
        return cls(clip for path in paths for clip in cls.load(path).clips)

    @classmethod
    def load(cls, path: Path) -> "ClipBank":
        """Read what `save` wrote.

        Raises PlanError when it is not there.
        """
        if not path.exists():
            raise PlanError(f"{path} is missing; run `prepare` first")
        with np.load(path) as stored:
            labels = json.loads(str(stored["labels"]))
            bounds = np.cumsum(stored["lengths"])[:-1]
            pieces = np.split(stored["audio"], bounds)
        for label in labels:
            label["rest"] = tuple(Part(*part) for part in label.get("rest", ()))
        return cls(
            Clip(**label, samples=piece.astype(np.float32) / np.float32(_INT16_SCALE))
            for label, piece in zip(labels, pieces, strict=True)
        )
