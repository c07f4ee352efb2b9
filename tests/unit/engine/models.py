"""A tiny model's facts, for tests of the pure parts."""

from collections.abc import Iterable

import numpy as np

from stt_service.engine.frames import Frame
from stt_service.engine.model import ModelInfo, StepOutput

FRAME_SAMPLES = 1920
SAMPLE_RATE_HERTZ = 24_000
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HERTZ

END_OF_PADDING = 0
PADDING = 3
# Text ids by their text; "é" is split into its two UTF-8 bytes.
PIECES = (b"", b"", b"", b"", b" hel", b"lo", b" you", b"\xc3", b"\xa9", b" ")
HEL, LO, YOU, C3, A9, SPACE = range(4, 10)


def make_info(delay_s: float = 0.5, silence_prefix_s: float = 0.0, heads: int = 4) -> ModelInfo:
    return ModelInfo(
        sample_rate_hertz=SAMPLE_RATE_HERTZ,
        frame_samples=FRAME_SAMPLES,
        delay_s=delay_s,
        silence_prefix_s=silence_prefix_s,
        padding_id=PADDING,
        end_of_padding_id=END_OF_PADDING,
        pieces=PIECES,
        pause_heads_s=(0.5, 1.0, 2.0, 3.0)[:heads],
    )


def make_frame(level: float = 0.1, samples: int = FRAME_SAMPLES) -> Frame:
    pcm = np.zeros(FRAME_SAMPLES, dtype=np.float32)
    pcm[:samples] = level
    return Frame(pcm, samples)


def make_output(text_ids: Iterable[int], pause: float = 0.0) -> StepOutput:
    """What a model says: these ids with certainty, and one pause probability on all heads."""
    ids = np.array(list(text_ids), dtype=np.int64)
    return StepOutput(
        text_ids=ids,
        probabilities=np.ones(len(ids), dtype=np.float32),
        pauses=np.full((len(ids), 4), pause, dtype=np.float32),
    )
