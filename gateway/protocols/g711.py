"""A-law, which the service does not read, as 16-bit samples (ITU-T G.711)."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np


def alaw_to_s16le(data: bytes) -> bytes:
    """8-bit A-law samples as 16-bit signed little-endian ones."""
    return _alaw_table()[np.frombuffer(data, np.uint8)].tobytes()


@cache
def _alaw_table() -> np.ndarray[Any, np.dtype[np.int16]]:
    # Sign, three bits of exponent, four of mantissa; every other bit is inverted on the wire.
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    # The lowest step is the middle of its interval; segments above the first double in width.
    magnitude = (mantissa << 4) + 8
    magnitude = np.where(
        exponent > 0, (magnitude + 0x100) << np.maximum(exponent - 1, 0), magnitude
    )
    return np.where(code & 0x80, magnitude, -magnitude).astype("<i2")
