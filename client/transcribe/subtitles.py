"""Words with times → subtitles: short cues that break where the speaker pauses."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from client.events import Word

LINE_CHARACTERS = 42
CUE_LINES = 2
# Readers lose the thread if a cue stands longer than this.
LONGEST_CUE_S = 7.0
# A silence this long ends a cue, whether or not the model reports a pause.
PAUSE_S = 0.8


@dataclass(frozen=True)
class Cue:
    """One subtitle: at most two lines of at most 42 characters."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]


def make_cues(words: Sequence[Word], pauses_s: Iterable[float] = ()) -> list[Cue]:
    """Group words into cues, breaking at silences, at the model's pauses and at full lines."""
    pauses = sorted(pauses_s)
    groups: list[list[Word]] = []
    for word in words:
        if groups and _fits(groups[-1], word, pauses):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [
        Cue(group[0].start_s, max(word.end_s for word in group), tuple(_wrap(group)))
        for group in groups
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


def _fits(group: list[Word], word: Word, pauses: Sequence[float]) -> bool:
    last = group[-1]
    if word.start_s - last.end_s >= PAUSE_S or word.end_s - group[0].start_s > LONGEST_CUE_S:
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
