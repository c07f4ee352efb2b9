"""Words with times → subtitles: short cues that break where the speaker pauses."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from client.rpc.events import Word

LINE_CHARACTERS = 42
CUE_LINES = 2
# Longer cues are hard to follow.
MAX_CUE_S = 7.0
# Shorter cues cannot be read.
MIN_CUE_S = 0.8
# A silence this long ends a cue, whether or not the model reports a pause.
PAUSE_S = 0.8


@dataclass(frozen=True)
class Cue:
    """One subtitle: at most two lines of at most 42 characters."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def make_cues(
    words: Sequence[Word], pauses_s: Iterable[float] = (), audio_duration_s: float = math.inf
) -> list[Cue]:
    """Group words into cues, breaking at silences, at the model's pauses and at full lines.

    A cue is shown from its first word to the end of its last one, and for at least `MIN_CUE_S`
    unless the next cue or the end of the audio comes before.
    """
    pauses = sorted(pauses_s)
    groups: list[list[Word]] = []
    for word in words:
        if groups and _fits(groups[-1], word, pauses):
            groups[-1].append(word)
        else:
            groups.append([word])
    starts_s = [group[0].start_s for group in groups]
    limits_s = [min(start_s, audio_duration_s) for start_s in [*starts_s[1:], math.inf]]
    return [
        Cue(start_s, _end_s(group, limit_s), tuple(_wrap(group)))
        for group, start_s, limit_s in zip(groups, starts_s, limits_s, strict=False)
    ]


def to_srt(cues: Sequence[Cue]) -> str:
    """SubRip text."""
    blocks = [
        f"{number}\n{_timestamp(cue.start_s, ',')} --> {_timestamp(cue.end_s, ',')}\n"
        + "\n".join(cue.lines)
        for number, cue in enumerate(cues, start=1)
    ]
    return "\n\n".join(blocks) + "\n" if blocks else ""


def to_vtt(cues: Sequence[Cue]) -> str:
    """WebVTT text."""
    blocks = [
        f"{_timestamp(cue.start_s, '.')} --> {_timestamp(cue.end_s, '.')}\n"
        + html.escape("\n".join(cue.lines), quote=False)
        for cue in cues
    ]
    return "\n\n".join(["WEBVTT", *blocks]) + "\n"


def _end_s(group: Sequence[Word], limit_s: float) -> float:
    spoken_s = max(word.end_s for word in group)
    return max(spoken_s, min(group[0].start_s + MIN_CUE_S, limit_s))


def _fits(group: list[Word], word: Word, pauses: Sequence[float]) -> bool:
    last = group[-1]
    if word.start_s - last.end_s >= PAUSE_S or word.end_s - group[0].start_s > MAX_CUE_S:
        return False
    if any(last.start_s < pause_s <= word.start_s for pause_s in pauses):
        return False
    return len(_wrap([*group, word])) <= CUE_LINES


def _wrap(group: Sequence[Word]) -> list[str]:
    return textwrap.wrap(" ".join(word.text for word in group), LINE_CHARACTERS)


def _timestamp(time_s: float, decimal_mark: str) -> str:
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{decimal_mark}{milliseconds:03}"
