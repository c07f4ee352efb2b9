"""Figures from what was said and what was heard. Pure: no model, no audio."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from rapidfuzz.distance import Levenshtein

from digits_training.evaluation.listening import Heard
from digits_training.evaluation.trials import GAP_IN_TALK_S, Trial, TrueWord
from digits_training.vocabulary import DIGITS, FRAME_SECONDS, PAUSE_LENGTHS_SECONDS
from stt_service.engine.events import Word
from stt_service.engine.pauses import DEFAULT_THRESHOLD

TIME_TOLERANCE_SECONDS = 0.12
NOTHING = len(DIGITS)
"""Row and column of the confusion matrix for words that were not said or not heard."""


@dataclass(frozen=True)
class WordErrors:
    """Substitutions, deletions and insertions over the number of words said."""

    said: int
    errors: int

    @property
    def rate(self) -> float:
        return self.errors / max(self.said, 1)


@dataclass(frozen=True)
class PauseFigures:
    """How well the 2 s head ends turns; shares are of 80 ms steps.

    Median and 95th percentile are of the seconds from a turn's last word to its pause, None where
    no turn was ended.
    """

    turns: int
    turns_ended_once: int
    turns_ended_never: int
    pauses_within_turns: int
    median_s: float | None
    p95_s: float | None
    share_within_words: float
    share_between_words: float


@dataclass(frozen=True)
class HesitationFigures:
    """Long gaps within turns, and how many of them ended the turn although it went on."""

    hesitations: int
    taken_for_pauses: int


@dataclass(frozen=True)
class HeadFigures:
    """One head: how often it fires early in gaps of its length, and how often in shorter ones."""

    length_s: float
    long_gaps: int
    predicted: int
    shorter_gaps: int
    false_alarms: int


def pair_words(trial: Trial, heard: Heard) -> list[tuple[TrueWord | None, Word | None]]:
    """Align what was said with what was heard by the fewest edits; None is a missing word."""
    said, words = trial.words, heard.words
    pairs: list[tuple[TrueWord | None, Word | None]] = []
    opcodes = Levenshtein.opcodes([word.text for word in said], [word.text for word in words])
    for step in opcodes:
        sources = range(step.src_start, step.src_end)
        targets = range(step.dest_start, step.dest_end)
        if step.tag in ("equal", "replace"):
            pairs += [(said[i], words[j]) for i, j in zip(sources, targets, strict=True)]
        else:
            pairs += [(said[i], None) for i in sources]
            pairs += [(None, words[j]) for j in targets]
    return pairs


def count_word_errors(trials: Sequence[Trial], heard: Sequence[Heard]) -> WordErrors:
    """Word errors over all trials."""
    errors = sum(
        said is None or word is None or said.text != word.text
        for trial, result in zip(trials, heard, strict=True)
        for said, word in pair_words(trial, result)
    )
    return WordErrors(sum(len(trial.words) for trial in trials), errors)


def count_confusions(trials: Sequence[Trial], heard: Sequence[Heard]) -> npt.NDArray[np.int64]:
    """Counts [said, heard]; the last row and column are NOTHING."""
    counts = np.zeros((NOTHING + 1, NOTHING + 1), np.int64)
    for trial, result in zip(trials, heard, strict=True):
        for said, word in pair_words(trial, result):
            row = NOTHING if said is None else DIGITS.index(said.text)
            column = NOTHING if word is None else DIGITS.index(word.text)
            counts[row, column] += 1
    return counts


def measure_time_errors(trials: Sequence[Trial], heard: Sequence[Heard]) -> npt.NDArray[np.float64]:
    """Start heard less start said, in seconds, of every word that was understood."""
    return np.array(
        [
            word.start_s - said.start_s
            for trial, result in zip(trials, heard, strict=True)
            for said, word in pair_words(trial, result)
            if said is not None and word is not None and said.text == word.text
        ]
    )


def measure_pauses(trials: Sequence[Trial], heard: Sequence[Heard], head: int) -> PauseFigures:
    """Figures of one head and of the pauses that the engine made of it; needs Heard.heads."""
    delays_s: list[float] = []
    ended: list[int] = []
    within_turns = 0
    word_steps: list[npt.NDArray[np.bool_]] = []
    gap_steps: list[npt.NDArray[np.bool_]] = []
    for trial, result in zip(trials, heard, strict=True):
        assert result.heads is not None, "listen with one slot to get the heads"
        fired = result.heads[:, head] > DEFAULT_THRESHOLD
        next_starts_s = [turn[0].start_s for turn in trial.turns[1:]] + [np.inf]
        for turn, next_start_s in zip(trial.turns, next_starts_s, strict=True):
            after = [at for at in result.pauses_s if turn[-1].end_s <= at <= next_start_s]
            ended.append(len(after))
            delays_s += [at - turn[-1].end_s for at in after[:1]]
            within_turns += sum(turn[0].start_s < at < turn[-1].end_s for at in result.pauses_s)
            word_steps += [fired[select_steps(len(fired), w.start_s, w.end_s)] for w in turn]
            gap_steps += [
                fired[select_steps(len(fired), before.end_s, after_.start_s)]
                for before, after_ in pairwise(turn)
            ]
    return PauseFigures(
        turns=len(ended),
        turns_ended_once=ended.count(1),
        turns_ended_never=ended.count(0),
        pauses_within_turns=within_turns,
        median_s=float(np.median(delays_s)) if delays_s else None,
        p95_s=float(np.percentile(delays_s, 95)) if delays_s else None,
        share_within_words=float(np.concatenate(word_steps).mean()),
        share_between_words=float(np.concatenate(gap_steps).mean()),
    )


def measure_hesitations(trials: Sequence[Trial], heard: Sequence[Heard]) -> HesitationFigures:
    """Count the pauses reported within gaps that are longer than those of fluent speech."""
    gaps = [
        any(before.end_s < at <= after.start_s for at in result.pauses_s)
        for trial, result in zip(trials, heard, strict=True)
        for turn in trial.turns
        for before, after in pairwise(turn)
        if after.start_s - before.end_s > GAP_IN_TALK_S[1]
    ]
    return HesitationFigures(hesitations=len(gaps), taken_for_pauses=sum(gaps))


def measure_head(trials: Sequence[Trial], heard: Sequence[Heard], head: int) -> HeadFigures:
    """Does a head fire in gaps of its length, before they are that long, and in those alone?"""
    length_s = PAUSE_LENGTHS_SECONDS[head]
    outcomes: list[tuple[bool, bool]] = []
    for trial, result in zip(trials, heard, strict=True):
        assert result.heads is not None, "listen with one slot to get the heads"
        fired = result.heads[:, head] > DEFAULT_THRESHOLD
        for before, after in pairwise(trial.words):
            gap_s = after.start_s - before.end_s
            seen_s = min(gap_s, length_s)
            steps = select_steps(len(fired), before.end_s, before.end_s + seen_s)
            outcomes.append((gap_s >= length_s, bool(fired[steps].any())))
    return HeadFigures(
        length_s=length_s,
        long_gaps=sum(long for long, _ in outcomes),
        predicted=sum(long and fired for long, fired in outcomes),
        shorter_gaps=sum(not long for long, _ in outcomes),
        false_alarms=sum(not long and fired for long, fired in outcomes),
    )


def select_steps(steps: int, start_s: float, end_s: float) -> npt.NDArray[np.bool_]:
    """The steps whose frame ends in (start_s, end_s]."""
    heard_until_s = (np.arange(steps) + 1) * FRAME_SECONDS
    return (heard_until_s > start_s) & (heard_until_s <= end_s)
