"""Opus that is made and decoded, for tests."""

from functools import cache

import numpy as np

from stt_service.engine.ogg_opus import OpusDecoder
from tests.odd_recordings import speech
from tests.ogg_files import (
    OpusAudio,
    encode_opus,
)

RATE_HERTZ = 24_000


def decode(*messages: bytes) -> np.ndarray:
    decoder = OpusDecoder(RATE_HERTZ)
    return np.concatenate([chunk for message in messages for chunk in decoder.decode(message)])


@cache
def audio(duration_s: float = 1.0, **options: object) -> OpusAudio:
    return encode_opus(speech(duration_s, RATE_HERTZ), RATE_HERTZ, **options)
