"""Gather what the training hears: human recordings and synthetic voices, as two banks."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

from digits_training.provenance import claim
from digits_training.sound.accents import ACCENTS
from digits_training.sound.clips import Clip, ClipBank
from digits_training.sound.recordings import list_recordings, read_recordings
from digits_training.sound.voices import (
    AccentedVoice,
    EspeakVoice,
    Synthesizer,
    list_accented_voices,
    list_voices,
    speak_clips,
)
from digits_training.vocabulary import DIGITS, invent_words, read_other_words

TRAINING_BANK = "training.npz"
EVALUATION_BANK = "evaluation.npz"
SEED = 1
"""Of the synthetic voices; the training has a seed of its own."""

_OTHER_WORDS_PER_ESPEAK_VOICE = 50
_INVENTED_WORDS_PER_ESPEAK_VOICE = 60
_INVENTED_WORDS_PER_OTHER_VOICE = 400
_DIGIT_TAKES_PER_ESPEAK_VOICE = 4
_DIGIT_TAKES_PER_OTHER_VOICE = 20
_DIGIT_TAKES_PER_ACCENTED_VOICE = 3


@dataclass(frozen=True)
class Script:
    """What one voice is asked to say for the training and for the evaluation."""

    training: list[str]
    evaluation: list[str]


def prepare(recordings: Path, work_dir: Path, *, seed: int) -> None:
    """Write both banks into work_dir; a voice that is already there is not spoken again.

    Raises PlanError when recordings or programs are missing, or when the voices that are there
    were asked to say something else.
    """
    recorded = [list_recordings(recordings, held_out=held_out) for held_out in (False, True)]
    voices, accented = list_voices(), list_accented_voices()
    everybody = [*voices, *accented]
    rngs = [np.random.default_rng([seed, index]) for index in range(len(everybody))]
    scripts = [
        _write_script(voice, index, len(voices), rngs[index])
        for index, voice in enumerate(everybody)
    ]
    voices_dir = work_dir / "voices"
    said = hashlib.sha256(repr(scripts).encode()).hexdigest()
    claim(voices_dir, {"words": said, "accents": ACCENTS, "seed": seed})
    training, evaluation = (list(read_recordings(paths)) for paths in recorded)
    # Most voices are programs: threads wait for as many of them as there are cores.
    with ThreadPoolExecutor(os.cpu_count()) as speakers:
        everything_spoken = speakers.map(
            partial(speak_script, folder=voices_dir), everybody, scripts, rngs
        )
        for spoken in track(everything_spoken, "Synthetic voices", total=len(everybody)):
            training.extend(spoken[0])
            evaluation.extend(spoken[1])
    ClipBank(training).save(work_dir / TRAINING_BANK)
    ClipBank(evaluation).save(work_dir / EVALUATION_BANK)


def speak_script(
    voice: Synthesizer, script: Script, rng: np.random.Generator, folder: Path
) -> tuple[list[Clip], list[Clip]]:
    """The clips of training and evaluation, from disk when both are there.

    The evaluation's are drawn behind the training's, so neither is spoken without the other.
    """
    parts = {"training": script.training, "evaluation": script.evaluation}
    paths = {part: folder / f"{voice.voice}.{part}.npz" for part, words in parts.items() if words}
    if not all(path.exists() for path in paths.values()):
        for part, path in paths.items():
            ClipBank(speak_clips(voice, parts[part], rng)).save(path)
    clips = {part: ClipBank.load(path).clips for part, path in paths.items()}
    return clips["training"], clips.get("evaluation", [])


def describe(clips: Sequence[Clip]) -> Iterator[str]:
    """Lines that say how much there is of what."""
    for human in (True, False):
        chosen = [clip for clip in clips if clip.human == human]
        digits = sum(clip.word in DIGITS for clip in chosen)
        yield (
            f"{'human' if human else 'synthetic'}: {len({clip.voice for clip in chosen})} voices, "
            f"{digits} digits, {len(chosen) - digits} other words"
        )


def _write_script(voice: Synthesizer, index: int, voices: int, rng: np.random.Generator) -> Script:
    """Every voice says the digits; espeak's many voices share the other words, the rest say all.

    Accented voices say nothing but digits. No voice trains on the words that are held out for the
    evaluation.
    """
    other_words, held_out_words = read_other_words()
    digits: list[str] = list(DIGITS)
    if isinstance(voice, AccentedVoice):
        return Script(digits * _DIGIT_TAKES_PER_ACCENTED_VOICE, [])
    if isinstance(voice, EspeakVoice):
        chosen = rng.choice(other_words, _OTHER_WORDS_PER_ESPEAK_VOICE, replace=False)
        invented = invent_words(rng, _INVENTED_WORDS_PER_ESPEAK_VOICE)
        return Script(
            digits * _DIGIT_TAKES_PER_ESPEAK_VOICE + [str(word) for word in chosen] + invented,
            held_out_words[index::voices],
        )
    invented = invent_words(rng, _INVENTED_WORDS_PER_OTHER_VOICE)
    return Script(digits * _DIGIT_TAKES_PER_OTHER_VOICE + other_words + invented, held_out_words)
