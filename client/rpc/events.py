"""The events of a transcription, typed and frozen.

All times are seconds in the stream's own audio: zero is the first sample that was sent. A
connection that broke and was replayed in between does not shift them.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How far the server was when it made an event."""

    processed_s: float = 0.0
    """Audio that the model has heard when it made this event."""
    lag_s: float = 0.0
    """Audio received by the server and not yet heard by the model."""
    step_time: float | None = None
    """The server's wall clock, in Unix seconds, at the end of the step behind this event."""


@dataclass(frozen=True)
class Ready:
    """The session was admitted; comes once."""

    session_id: str
    delay_s: float
    """How far the model's text runs behind its audio."""
    frame_samples: int
    sample_rate_hertz: int
    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Token:
    """One text piece with its own leading space; all texts joined are the transcript."""

    text: str
    start_s: float
    """Where the word that this piece belongs to starts."""
    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Word:
    """Pieces joined into a word, without surrounding spaces."""

    text: str
    start_s: float
    end_s: float
    confidence: float
    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Pause:
    """The speaker has finished (`vad_end` on the wire)."""

    offset_s: float
    """Position of the audio at which the pause was recognised."""
    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Ping:
    """The server is alive and has nothing else to say."""

    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Flushed:
    """Every token of the audio before the flush has come."""

    flush_id: str
    timing: Timing = field(default=Timing(), compare=False)


@dataclass(frozen=True)
class Final:
    """The last event."""

    transcript: str
    words: tuple[Word, ...]
    audio_duration_s: float
    timing: Timing = field(default=Timing(), compare=False)
    is_cut: bool = False
    """Transcript and words are only the beginning: never so for a stream of this library."""


@dataclass(frozen=True)
class Reconnected:
    """The connection had broken and a part of the audio was sent again (docs/replay.md)."""

    session_id: str
    replayed_from_s: float
    """Position from which the audio was sent again."""
    reason: str
    """Why the connection broke."""
    timing: Timing = field(default=Timing(), compare=False)


ServerEvent = Ready | Token | Word | Pause | Ping | Flushed | Final
"""The events of one connection."""

Event = ServerEvent | Reconnected
"""The events of a stream."""
