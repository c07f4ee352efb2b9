"""Measure a checkpoint through the real engine, streaming, and say what came out."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt
from rich.progress import Progress

from digits_training.evaluation.listening import Heard, listen_to_all
from digits_training.evaluation.measures import (
    TIME_TOLERANCE_SECONDS,
    HeadFigures,
    HesitationFigures,
    PauseFigures,
    WordErrors,
    count_confusions,
    count_word_errors,
    measure_head,
    measure_hesitations,
    measure_pauses,
    measure_time_errors,
)
from digits_training.evaluation.strangers import StrangerFigures, measure_strangers
from digits_training.evaluation.trials import (
    HESITATION_SHARE,
    Trial,
    make_digit_strings,
    make_onsets,
    make_other_words,
    make_talks,
    make_wordless,
)
from digits_training.sound.clips import ClipBank
from digits_training.sound.running import Tally
from digits_training.vocabulary import PAUSE_LENGTHS_SECONDS, SAMPLE_RATE_HERTZ

SEED = 2026
SLOTS = 8
PAUSE_2S_HEAD = PAUSE_LENGTHS_SECONDS.index(2.0)
TALKS = 36
HESITANT_TALKS = 18
OTHER_WORDS = 300
ONSETS = 100


class Noise(TypedDict, total=False):
    """What the noise is like, as make_digit_strings takes it; nothing means none."""

    noise_dbfs: float
    snr_db: float
    noise_exponents: tuple[float, float]


CONDITIONS: dict[str, Noise] = {
    "clean": {},
    "faint noise, -60 dBFS": {"noise_dbfs": -60.0},
    "noise at 20 dB": {"snr_db": 20.0},
    "noise at 10 dB": {"snr_db": 10.0},
    # As of traffic or a fan: nearly all of it lies below 400 Hz.
    "low noise at 10 dB": {"snr_db": 10.0, "noise_exponents": (2, 3)},
}


@dataclass(frozen=True)
class TimeFigures:
    """Starts of words against the truth; None where no word was understood."""

    words: int
    share_within_tolerance: float | None
    median_s: float | None
    p95_absolute_s: float | None


@dataclass(frozen=True)
class Evaluation:
    """Everything that was measured of one checkpoint."""

    word_errors: dict[str, WordErrors]
    word_errors_by_speaker: dict[str, WordErrors]
    times: TimeFigures
    digits_in_wordless_audio: int
    wordless_minutes: float
    onsets: int
    digits_at_onsets: int
    other_words: int
    digits_for_other_words: int
    pauses: PauseFigures
    heads: list[HeadFigures]
    hesitations: HesitationFigures
    confusions: npt.NDArray[np.int64]
    strangers: StrangerFigures

    def to_json(self) -> str:
        """The figures as JSON, rates included."""
        figures: dict[str, Any] = asdict(self)
        figures["confusions"] = self.confusions.tolist()
        figures["word_error_rates"] = {name: one.rate for name, one in self.word_errors.items()}
        return json.dumps(figures, indent=1, allow_nan=False)


class Evaluator:
    """Listens to trials with one checkpoint, and shows how far it is."""

    def __init__(self, checkpoint: Path, progress: Progress) -> None:
        self._checkpoint = checkpoint
        self._progress = progress

    def listen(self, name: str, trials: Sequence[Trial], *, slots: int = SLOTS) -> list[Heard]:
        """What the engine heard in each trial."""
        task = self._progress.add_task(name, total=len(trials))
        return asyncio.run(
            listen_to_all(
                self._checkpoint,
                trials,
                slots=slots,
                on_heard=lambda: self._progress.advance(task),
            )
        )


def evaluate(
    checkpoint: Path, bank: ClipBank, strangers: ClipBank, tally: Mapping[str, Tally]
) -> Evaluation:
    """Measure everything; on two CPU cores this takes some minutes.

    `strangers` are neural voices that no training heard, and `tally` what the independent ear made
    of them.
    """
    with Progress() as progress:
        evaluator = Evaluator(checkpoint, progress)
        strings = {
            name: make_digit_strings(bank, seed=SEED, **noise) for name, noise in CONDITIONS.items()
        }
        heard = {name: evaluator.listen(name, trials) for name, trials in strings.items()}
        clean, clean_heard = strings["clean"], heard["clean"]
        wordless = make_wordless(bank, seed=SEED)
        onsets = make_onsets(seed=SEED, count=ONSETS)
        others = make_other_words(bank, seed=SEED, count=OTHER_WORDS)
        talks = make_talks(bank, seed=SEED, count=TALKS)
        talks_heard = evaluator.listen("turns and pauses", talks, slots=1)
        hesitant = make_talks(
            bank, seed=SEED, count=HESITANT_TALKS, hesitation_share=HESITATION_SHARE
        )
        return Evaluation(
            word_errors={
                name: count_word_errors(trials, heard[name]) for name, trials in strings.items()
            },
            word_errors_by_speaker=count_by_speaker(clean, clean_heard),
            times=summarize_times(measure_time_errors(clean, clean_heard)),
            digits_in_wordless_audio=count_words(evaluator.listen("no words", wordless)),
            wordless_minutes=sum(len(trial.audio) for trial in wordless) / SAMPLE_RATE_HERTZ / 60,
            onsets=len(onsets),
            digits_at_onsets=count_words(evaluator.listen("onsets of noise", onsets)),
            other_words=len(others),
            digits_for_other_words=count_words(evaluator.listen("other words", others)),
            pauses=measure_pauses(talks, talks_heard, PAUSE_2S_HEAD),
            heads=[
                measure_head(talks, talks_heard, head) for head in range(len(PAUSE_LENGTHS_SECONDS))
            ],
            hesitations=measure_hesitations(hesitant, evaluator.listen("hesitations", hesitant)),
            confusions=count_confusions(clean, clean_heard),
            strangers=measure_strangers(evaluator.listen, strangers, tally, seed=SEED),
        )


def count_words(heard: Sequence[Heard]) -> int:
    """Words in all, where each is one too many."""
    return sum(len(result.words) for result in heard)


def count_by_speaker(trials: Sequence[Trial], heard: Sequence[Heard]) -> dict[str, WordErrors]:
    """Word errors of each speaker."""
    speakers = sorted({trial.name for trial in trials})
    return {
        speaker: count_word_errors(
            [trial for trial in trials if trial.name == speaker],
            [one for one, trial in zip(heard, trials, strict=True) if trial.name == speaker],
        )
        for speaker in speakers
    }


def summarize_times(errors_s: npt.NDArray[np.float64]) -> TimeFigures:
    """Figures of the errors of the words' starts."""
    if not len(errors_s):
        return TimeFigures(0, None, None, None)
    return TimeFigures(
        words=len(errors_s),
        share_within_tolerance=float((np.abs(errors_s) <= TIME_TOLERANCE_SECONDS).mean()),
        median_s=float(np.median(errors_s)),
        p95_absolute_s=float(np.percentile(np.abs(errors_s), 95)),
    )
