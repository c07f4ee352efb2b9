"""What a caller may ask of a session."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HERTZ = 24_000
"""The rate of all audio sources, and the model's own."""
FRAME_SAMPLES = 1_920
"""Samples of one model step, 80 ms."""

FloatArray = npt.NDArray[np.float32]


class Encoding(Enum):
    """Sample format on the wire: four bytes each, exact, or two bytes for a slow connection."""

    PCM_F32LE = "pcm_f32le"
    PCM_S16LE = "pcm_s16le"

    def encode(self, pcm: FloatArray) -> bytes:
        """Mono samples within [-1, 1] as bytes."""
        if self is Encoding.PCM_F32LE:
            return pcm.astype("<f4", copy=False).tobytes()
        return np.clip(np.rint(pcm * 32767.0), -32768, 32767).astype("<i2").tobytes()


def _check_duration(name: str, seconds: float | None) -> None:
    # NaN fails both comparisons.
    if seconds is not None and not 0.0 < seconds < float("inf"):
        raise ValueError(f"{name} is {seconds:g}; it must be a number of seconds above 0")


@dataclass(frozen=True)
class VadSettings:
    """When the model's semantic VAD counts as a pause; None means the server's default.

    Raises ValueError for a number out of range.
    """

    threshold: float | None = None
    """Probability in (0, 1) above which a pause is reported."""
    pause_s: float | None = None
    """Length of the pause that the model predicts; one of the model's own heads."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold is {self.threshold:g}; it must be within (0, 1)")
        _check_duration("pause_s", self.pause_s)


@dataclass(frozen=True)
class SessionOptions:
    """Which events the caller wants, and how the audio is sent.

    Raises ValueError for a timeout that is not a positive number of seconds.
    """

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
    """Words are flushed when no audio came for this long; None means the model's delay.

    A source that never pauses can name a long time: then a network that stalls for a moment in the
    middle of a word does not cut it in two.
    """

    def __post_init__(self) -> None:
        _check_duration("idle_timeout_s", self.idle_timeout_s)
        _check_duration("stall_timeout_s", self.stall_timeout_s)


@dataclass(frozen=True)
class ReconnectPolicy:
    """What happens when a connection breaks in the middle of a stream."""

    enabled: bool = True
    patience_s: float = 120.0
    """How long to keep trying without progress."""
    attempts_without_progress: int = 20
    """How often to try without progress."""
    buffer_s: float = 120.0
    """Audio kept for a replay. When this much is kept, the source waits; nothing is dropped."""
    context_s: float = 3.0
    """Audio sent again before the first word that was not settled, as context for the model."""
