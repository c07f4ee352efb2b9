"""What a caller may ask of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HERTZ = 24_000
"""Audio sources give this rate, the model's own."""
FRAME_SAMPLES = 1_920
"""Samples of one model step, 80 ms."""

FloatArray = npt.NDArray[np.float32]


class Encoding(Enum):
    """How samples travel: four bytes each exactly, or two bytes each on a thin line."""

    PCM_F32LE = "pcm_f32le"
    PCM_S16LE = "pcm_s16le"

    def encode(self, pcm: FloatArray) -> bytes:
        """Mono samples within [-1, 1] as bytes."""
        if self is Encoding.PCM_F32LE:
            return pcm.astype("<f4", copy=False).tobytes()
        return np.clip(np.rint(pcm * 32767.0), -32768, 32767).astype("<i2").tobytes()


@dataclass(frozen=True)
class VadSettings:
    """When the model's semantic VAD counts as a pause; None means the server's default."""

    threshold: float | None = None
    """Probability in (0, 1) above which a pause is reported."""
    pause_s: float | None = None
    """Length of the pause that the model predicts; one of the model's own heads."""


@dataclass(frozen=True)
class SessionOptions:
    """What the caller wants to hear and how the audio is sent."""

    words: bool = True
    """Yield `Word` events."""
    pauses: bool = True
    """Yield `Pause` events, where the model has a semantic VAD."""
    pings: bool = False
    """Yield `Ping` events."""
    encoding: Encoding = Encoding.PCM_F32LE
    vad: VadSettings = field(default=VadSettings())
    idle_timeout_s: float | None = None
    """The session ends when no audio came for this long; None means the server's 10 s."""
    stall_timeout_s: float | None = None
    """Words are flushed when no audio came for this long; None means the model's delay."""


@dataclass(frozen=True)
class ReconnectPolicy:
    """What happens when a connection breaks in the middle of a stream."""

    enabled: bool = True
    patience_s: float = 120.0
    """How long to try without hearing anything new."""
    attempts_without_progress: int = 20
    """How often to try without hearing anything new."""
    buffer_s: float = 120.0
    """Audio kept for a replay. When it is full, the source waits and nothing is lost."""
    context_s: float = 3.0
    """Audio heard a second time before the first word that was not settled."""
