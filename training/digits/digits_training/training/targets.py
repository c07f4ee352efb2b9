"""What the model should say at every frame: text, pauses, and what sounds at the moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from digits_training.sound.composition import Utterance
from digits_training.vocabulary import (
    DELAY_SECONDS,
    DIGITS,
    FRAME_SECONDS,
    PAUSE_LENGTHS_SECONDS,
)

IntArray: TypeAlias = npt.NDArray[np.int64]

PAUSE_CLASS, SHORTER_GAP_CLASS, SPEECH_CLASS = 0, 1, 2
"""Classes of the voice activity heads; like Kyutai's, they have six, of which class 0 is read."""

SILENCE_STATE, OTHER_WORD_STATE, FIRST_DIGIT_STATE = 0, 1, 2
STATES = FIRST_DIGIT_STATE + len(DIGITS)
_STATE_LOOKBACK_SECONDS = 0.16


@dataclass(frozen=True)
class TextIds:
    """Ids of the text tokenizer: padding, end of padding (a word begins), one piece per digit."""

    padding: int
    end_of_padding: int
    pieces: dict[str, int]


@dataclass(frozen=True)
class Targets:
    """Integers over the frames of one window, or of many windows: each array then has one axis
    more in front."""

    text: IntArray  # [frames]
    pauses: IntArray  # [heads, frames]
    states: IntArray  # [frames]

    @classmethod
    def stack(cls, targets: Sequence["Targets"]) -> "Targets":
        """Those of single windows as those of many."""
        return cls(
            text=np.stack([one.text for one in targets]),
            pauses=np.stack([one.pauses for one in targets]),
            states=np.stack([one.states for one in targets]),
        )

    def take(self, windows: IntArray) -> "Targets":
        """Those of some of the windows, by number."""
        return Targets(self.text[windows], self.pauses[windows], self.states[windows])


def make_targets(utterance: Utterance, ids: TextIds) -> Targets:
    """Targets for an utterance whose frame 0 is the first frame of the stream."""
    frames = round(utterance.seconds / FRAME_SECONDS)
    return Targets(
        text=write_text(utterance, ids, frames),
        pauses=mark_pauses(utterance, frames),
        states=mark_states(utterance, frames),
    )


def write_text(utterance: Utterance, ids: TextIds, frames: int) -> IntArray:
    """End of padding at the step that a reader takes for the word's start, then the piece.

    A reader computes start = step * 0.08 s - delay; words that begin too close to each other are
    written late, never dropped.
    """
    text = np.full(frames, ids.padding, np.int64)
    free = 0
    for word in utterance.words:
        if word.clip.word not in ids.pieces:
            continue
        step = max(free, round((word.start_s + DELAY_SECONDS) / FRAME_SECONDS))
        free = step + 2
        if step < frames:
            text[step] = ids.end_of_padding
        if step + 1 < frames:
            text[step + 1] = ids.pieces[word.clip.word]
    return text


def mark_pauses(utterance: Utterance, frames: int) -> IntArray:
    """For each head: does the gap that we are in at the end of a frame last this long in all?"""
    heard_until_s = (np.arange(frames) + 1) * FRAME_SECONDS
    pauses = np.full((len(PAUSE_LENGTHS_SECONDS), frames), SPEECH_CLASS, np.int64)
    ends_s = [0.0] + [word.end_s for word in utterance.words]
    starts_s = [word.start_s for word in utterance.words] + [utterance.silent_until_s]
    for gap_start_s, gap_end_s in zip(ends_s, starts_s, strict=True):
        inside = (heard_until_s > gap_start_s) & (heard_until_s <= gap_end_s)
        for head, length_s in enumerate(PAUSE_LENGTHS_SECONDS):
            long_enough = gap_end_s - gap_start_s >= length_s
            pauses[head, inside] = PAUSE_CLASS if long_enough else SHORTER_GAP_CLASS
    return pauses


def mark_states(utterance: Utterance, frames: int) -> IntArray:
    """What sounded a moment before the end of each frame: silence, another word, or which digit."""
    moments_s = (np.arange(frames) + 1) * FRAME_SECONDS - _STATE_LOOKBACK_SECONDS
    states = np.full(frames, SILENCE_STATE, np.int64)
    for word in utterance.words:
        known = word.clip.word in DIGITS
        state = FIRST_DIGIT_STATE + DIGITS.index(word.clip.word) if known else OTHER_WORD_STATE
        states[(moments_s >= word.start_s) & (moments_s < word.end_s)] = state
    return states
