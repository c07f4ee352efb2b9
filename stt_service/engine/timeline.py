"""Where each step lies in the session's own audio.

The model counts steps; the caller counts seconds of the audio it sent. Between
the two stand the steps whose silence the engine made up (prefix and tails),
which take model time and no audio time.
"""

import copy
from collections import deque
from itertools import islice

import numpy as np

from stt_service.engine.model import FloatArray, ModelInfo

# Levels are kept per 20 ms: fine enough to find the end of a word, and cheap.
LEVEL_BLOCK_S = 0.02
# A word has ended when its power stays this far below its own peak (-20 dB).
SPEECH_TO_PEAK_POWER = 0.01
# Shorter dips are stop consonants inside a word ("six", "eight").
MIN_GAP_S = 0.1
# A start that is slightly early lies within the previous word, whose end is not this word's.
MIN_WORD_S = 0.12
# The end of a word longer than this is not searched for.
LEVEL_HISTORY_S = 3.0


class Timeline:
    """Maps the latest step to a position in the audio, in seconds."""

    def __init__(self, info: ModelInfo) -> None:
        self.rate = info.sample_rate_hertz
        self._frame_samples = info.frame_samples
        self._delay_steps = info.delay_s / info.frame_s
        self._steps = 0
        self._heard_samples = 0
        # (first sample, number of samples) of the latest steps; made-up silence has no samples.
        self._spans: deque[tuple[int, int]] = deque(maxlen=int(self._delay_steps) + 2)
        self._block_samples = round(LEVEL_BLOCK_S * self.rate)
        history_s = LEVEL_HISTORY_S + info.delay_s
        # (end of the block in samples, mean square of the block)
        self._levels: deque[tuple[int, float]] = deque(maxlen=round(history_s / LEVEL_BLOCK_S))
        self._levels_appended = 0

    def fork(self) -> "Timeline":
        """A copy that goes its own way."""
        fork = copy.copy(self)
        fork._spans, fork._levels = self._spans.copy(), self._levels.copy()
        return fork

    @property
    def heard_s(self) -> float:
        """Length of the audio that the model has heard."""
        return self._heard_samples / self.rate

    def append_audio(self, samples: FloatArray) -> None:
        """Record a step that hears these samples; shape [n], n at most one frame."""
        whole = len(samples) - len(samples) % self._block_samples
        blocks = [*samples[:whole].reshape(-1, self._block_samples), samples[whole:]]
        end = self._heard_samples
        for block in blocks:
            if len(block):
                end += len(block)
                self._levels.append((end, float(np.dot(block, block)) / len(block)))
                self._levels_appended += 1
        self._append(len(samples))

    def append_silence(self) -> None:
        """Record a step that hears made-up silence."""
        self._append(0)

    def _append(self, samples: int) -> None:
        self._spans.append((self._heard_samples, samples))
        self._heard_samples += samples
        self._steps += 1

    @property
    def ends_in_sound(self) -> bool:
        """Whether the audio so far breaks off within a word, or anything else that is not quiet."""
        since = self._heard_samples - MIN_GAP_S * self.rate
        last = max((power for end, power in self._levels if end > since), default=0.0)
        peak = max((power for _, power in self._levels), default=0.0)
        return last > 0 and last >= SPEECH_TO_PEAK_POWER * peak

    def text_time_s(self) -> float:
        """The position in the audio that the text of the latest step is about: the step less the
        delay, in model time, and from there to the audio."""
        model_time = self._steps - 1 - self._delay_steps
        if model_time <= 0:
            return 0.0
        step = int(model_time)
        first_sample, samples = self._spans[step - self._steps]
        within_step = (model_time - step) * self._frame_samples
        return (first_sample + min(within_step, samples)) / self.rate

    def levels_since(self, number: int) -> list[tuple[int, float]]:
        """The levels from this number on, as far as they are still kept."""
        forgotten = self._levels_appended - len(self._levels)
        return list(islice(self._levels, max(0, number - forgotten), None))

    @property
    def levels_appended(self) -> int:
        """The number of levels so far, which is the number of the next one."""
        return self._levels_appended


class SpeechEnd:
    """Looks for the end of the speech that starts at `start_s`; looks at each level once."""

    def __init__(self, timeline: Timeline, start_s: float) -> None:
        self._timeline = timeline
        self._start = start_s * timeline.rate
        self._next_level = 0
        self._peak = 0.0
        self._loud_until = 0
        self._end_s: float | None = None

    def fork(self, timeline: Timeline) -> "SpeechEnd":
        """A copy that looks on in a fork of its timeline."""
        fork = copy.copy(self)
        fork._timeline = timeline
        return fork

    def find_s(self) -> float | None:
        """Where the speech falls silent, or None if it has not yet."""
        if self._end_s is None:
            rate = self._timeline.rate
            earliest_end = self._start + MIN_WORD_S * rate
            min_gap = MIN_GAP_S * rate
            for end, power in self._timeline.levels_since(self._next_level):
                if end <= self._start:
                    continue
                self._peak = max(self._peak, power)
                if power >= SPEECH_TO_PEAK_POWER * self._peak:
                    self._loud_until = end
                elif self._loud_until >= earliest_end and end - self._loud_until >= min_gap:
                    self._end_s = self._loud_until / rate
                    break
            self._next_level = self._timeline.levels_appended
        return self._end_s
