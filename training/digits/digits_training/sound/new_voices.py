"""Gather voices unlike the first ones: neural speakers, and the recordings in other throats."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.progress import track

from digits_training.provenance import claim
from digits_training.sound.clips import Clip, ClipBank
from digits_training.sound.ear import Ear
from digits_training.sound.mixing import MixedVoice, list_held_out_voices, list_training_voices
from digits_training.sound.neural import NeuralSpeaker
from digits_training.sound.running import WORDS_PER_STRING, Booth, Takes, Tally
from digits_training.sound.shifting import shift_clips
from digits_training.vocabulary import read_other_words

NEW_VOICES_BANK = "new-voices.npz"
"""The training of all voices hears them beside the others."""
STRANGERS_BANK = "strangers.npz"
"""Neural voices that no training hears, for the evaluation."""
EAR_NAME = "ear.json"

_TRAINING_STRINGS, _EVALUATION_STRINGS = 2, 4
_SEED = 7
_HELD_OUT_SEED, _SHIFT_SEED = 1_000, 2_000


def prepare_new_voices(recordings: ClipBank, work_dir: Path) -> None:
    """Write both banks into work_dir; a voice that is already there is not spoken again.

    `recordings` are those of people that the training hears.
    Raises PlanError when packages or programs are missing, or the voices there are other ones.
    """
    folder = work_dir / "neural"
    training, held_out = list_training_voices(), list_held_out_voices()
    claim(
        folder,
        {
            "styles": [asdict(voice) for voice in (*training, *held_out)],
            "strings": (_TRAINING_STRINGS, _EVALUATION_STRINGS),
            "seed": _SEED,
        },
    )
    booth = Booth(NeuralSpeaker(), Ear())
    clips: list[Clip] = []
    for number, voice in enumerate(track(training, "Neural voices")):
        clips += _record(booth, voice, folder, number, held_out=False)
    rng = np.random.default_rng([_SEED, _SHIFT_SEED])
    clips += track(shift_clips(recordings.clips, rng), "Other throats", total=len(recordings.clips))
    ClipBank(clips).save(work_dir / NEW_VOICES_BANK)
    strangers: list[Clip] = []
    for number, voice in enumerate(track(held_out, "Strangers"), _HELD_OUT_SEED):
        strangers += _record(booth, voice, folder, number, held_out=True)
    ClipBank(strangers).save(work_dir / STRANGERS_BANK)


def read_tally(work_dir: Path) -> dict[str, Tally]:
    """Voice → what was said, and what of it the independent ear understood."""
    noted = json.loads((work_dir / "neural" / EAR_NAME).read_text())
    return {voice: Tally(**tally) for voice, tally in noted.items()}


def _record(
    booth: Booth, voice: MixedVoice, folder: Path, number: int, *, held_out: bool
) -> list[Clip]:
    """What a voice says, from disk when it is there."""
    path = folder / f"{voice.voice}.npz"
    if not path.exists():
        record = _record_for_evaluation if held_out else _record_for_training
        takes = record(booth, voice, number)
        _note(folder / EAR_NAME, voice.voice, takes.tally)
        ClipBank(takes.clips).save(path)
    return ClipBank.load(path).clips


def _record_for_training(booth: Booth, voice: MixedVoice, number: int) -> Takes:
    """Digits in strings, other words, every digit alone, and more other words."""
    other_words, _ = read_other_words()
    rng = np.random.default_rng([_SEED, number])
    takes = booth.record_for_training(voice, rng, _TRAINING_STRINGS)
    takes.clips += booth.record_other_words(voice, rng, _draw_words(rng, other_words))
    rng = np.random.default_rng([_SEED, number, 1])
    takes.add(booth.record_alone(voice, rng, only_understood=True))
    takes.clips += booth.record_other_words(voice, rng, _draw_words(rng, other_words))
    return takes


def _record_for_evaluation(booth: Booth, voice: MixedVoice, number: int) -> Takes:
    """Digits in strings, every digit alone, and other words that no training hears."""
    _, other_words = read_other_words()
    rng = np.random.default_rng([_SEED, number])
    takes = booth.record_for_evaluation(voice, rng, _EVALUATION_STRINGS)
    takes.clips += booth.record_other_words(voice, rng, _draw_words(rng, other_words))
    return takes


def _draw_words(rng: np.random.Generator, words: Sequence[str]) -> list[str]:
    return [str(word) for word in rng.choice(words, WORDS_PER_STRING, replace=False)]


def _note(path: Path, voice: str, tally: Tally) -> None:
    noted: dict[str, object] = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(noted | {voice: asdict(tally)}, indent=1))
