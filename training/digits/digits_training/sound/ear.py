"""An independent ear: pocketsphinx, a recognizer of the nineties, which knows ten words here.

What it does not understand either, nobody may be asked to.
"""

# pocketsphinx is typed in part only, and the extra `voices` is not needed to read or check this.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportMissingImports=false

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import soxr
from rapidfuzz.distance import Levenshtein

from digits_training.errors import PlanError
from digits_training.sound.clips import PEAK, FloatArray
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ

_EAR_HERTZ = 16_000
_INT16_SCALE = 32_767
_GRAMMAR = f"#JSGF V1.0; grammar digits; public <digits> = ({' | '.join(DIGITS)})+;"


class Ear:
    """Understands strings of digits; one thread at a time."""

    def __init__(self) -> None:
        """Raises PlanError when the package is missing."""
        if not find_spec("pocketsphinx"):
            raise PlanError("cannot find pocketsphinx; add `--extra voices` to `uv run`")
        from pocketsphinx import Decoder

        self._decoder: Any = Decoder(samprate=_EAR_HERTZ, lm=None, loglevel="FATAL")
        self._decoder.add_jsgf_string("digits", _GRAMMAR)
        self._decoder.activate_search("digits")

    def hear(self, samples: FloatArray) -> list[str]:
        """The digits in a sound of 24 kHz; it finds some in any sound."""
        sound = soxr.resample(samples, SAMPLE_RATE_HERTZ, _EAR_HERTZ)
        sound = sound * (PEAK / max(float(np.abs(sound).max(initial=0.0)), 1e-6))
        self._decoder.start_utt()
        pcm = (sound * _INT16_SCALE).astype(np.int16).tobytes()
        self._decoder.process_raw(pcm, no_search=False, full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr.split() if found else []


def mark_understood(said: Sequence[str], heard: Sequence[str]) -> list[bool]:
    """Of each word that was said: was it heard?"""
    understood = [False] * len(said)
    for step in Levenshtein.opcodes(said, heard):
        if step.tag == "equal":
            understood[step.src_start : step.src_end] = [True] * (step.src_end - step.src_start)
    return understood
