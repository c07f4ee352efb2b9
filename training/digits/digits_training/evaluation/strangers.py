"""Whom a checkpoint understands who was not among its voices: neural women and men."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from digits_training.evaluation.listening import Heard
from digits_training.evaluation.measures import WordErrors, count_word_errors
from digits_training.evaluation.trials import Trial, add_noise, lay_turns
from digits_training.sound.clips import Clip, ClipBank
from digits_training.sound.noise import make_coloured
from digits_training.sound.running import Tally
from digits_training.vocabulary import DIGITS

SEXES = {"woman": "women", "man": "men"}
NOISE_SNR_DB = 10.0

Listen = Callable[[str, Sequence[Trial]], list[Heard]]
"""Called with a name to show and trials."""


@dataclass(frozen=True)
class StrangerFigures:
    """Word errors by group and by voice, of the checkpoint and of the independent ear."""

    word_errors: dict[str, WordErrors]
    word_errors_by_voice: dict[str, WordErrors]
    word_errors_of_ear: dict[str, WordErrors]
    other_words: int
    digits_for_other_words: int


def measure_strangers(
    listen: Listen, bank: ClipBank, tally: Mapping[str, Tally], *, seed: int
) -> StrangerFigures:
    """Phrases in one breath, clean and in noise, digits said alone, and other words.

    `tally` says what the ear made of each voice's digits.
    """
    digits = [clip for clip in bank.clips if clip.word in DIGITS]
    phrases = make_trials([clip for clip in digits if clip.rest], seed=seed)
    alone = make_trials([clip for clip in digits if not clip.rest], seed=seed)
    others = make_trials([clip for clip in bank.clips if clip.word not in DIGITS], seed=seed)
    conditions = {
        "in one breath": phrases,
        f"in one breath, noise at {NOISE_SNR_DB:g} dB": make_noisy(phrases, seed=seed),
        "digits alone": alone,
    }
    heard = {name: listen(f"strangers, {name}", trials) for name, trials in conditions.items()}
    clean = [*phrases, *alone]
    clean_heard = [*heard["in one breath"], *heard["digits alone"]]
    others_heard = listen("strangers, other words", others)
    return StrangerFigures(
        word_errors={
            f"{plural}, {name}": _count(trials, heard[name], sex)
            for sex, plural in SEXES.items()
            for name, trials in conditions.items()
        },
        word_errors_by_voice={
            voice: _count(clean, clean_heard, voice) for voice in bank.get_voices(human=False)
        },
        word_errors_of_ear={plural: _sum_up(tally, sex) for sex, plural in SEXES.items()},
        other_words=len(others),
        digits_for_other_words=sum(len(result.words) for result in others_heard),
    )


def make_trials(clips: Sequence[Clip], *, seed: int) -> list[Trial]:
    """One stream for each clip, on exact silence; it bears the voice's name."""
    rng = np.random.default_rng(seed)
    return [lay_turns(rng, clip.voice, [[clip]]) for clip in clips]


def make_noisy(trials: Sequence[Trial], *, seed: int) -> list[Trial]:
    """The same in noise, white and pink by turns."""
    rng = np.random.default_rng(seed)
    noises = [make_coloured(rng, exponent) for exponent in (0, 1)]
    return [
        add_noise(rng, trial, noises[number % 2], snr_db=NOISE_SNR_DB)
        for number, trial in enumerate(trials)
    ]


def _count(trials: Sequence[Trial], heard: Sequence[Heard], label: str) -> WordErrors:
    """Of the voices that bear a label in their names."""
    chosen = [
        (trial, result)
        for trial, result in zip(trials, heard, strict=True)
        if label in trial.name.split("-") or label == trial.name
    ]
    return count_word_errors([trial for trial, _ in chosen], [result for _, result in chosen])


def _sum_up(tally: Mapping[str, Tally], sex: str) -> WordErrors:
    counts = [count for voice, count in tally.items() if sex in voice.split("-")]
    total = sum(counts, start=Tally())
    return WordErrors(total.said, total.said - total.understood)
