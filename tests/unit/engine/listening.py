"""A session with a model in its hands that can come back, for tests."""

from collections.abc import Sequence

import numpy as np

from stt_service.engine.events import Event
from stt_service.engine.frames import Frame
from stt_service.engine.model import ModelInfo
from stt_service.engine.options import SessionOptions
from stt_service.engine.session_state import Mark, SessionState
from tests.unit.engine.models import (
    END_OF_PADDING,
    HEL,
    LO,
    PADDING,
    YOU,
    make_frame,
    make_info,
)

LOUD, QUIET = 0.1, 0.0
INFO = make_info(delay_s=0.4)
DELAY_STEPS = 5


class Listener:
    """A session whose model writes what a script says of each frame, and which can come back.

    `said` are text ids by the caller's own frames; in a tail the model writes `in_tail`.
    """

    def __init__(self, said: Sequence[int], info: ModelInfo = INFO) -> None:
        options = SessionOptions(wants_steps=True, wants_utterances=True)
        self.state = SessionState("a", options, info)
        # What the heads say of a pause.
        self.pauses = np.zeros(len(info.pause_heads_s), dtype=np.float32)
        self.events: list[Event] = []
        self.ways: list[str] = []
        self._said = said
        self._position = self._kept = 0

    def hear(self, count: int, level: float = LOUD) -> "Listener":
        return self.take([make_frame(level)] * count)

    def take(self, items: Sequence[Frame | Mark], in_tail: Sequence[int] = ()) -> "Listener":
        """Push these and step until there is nothing to step."""
        self.state.push(items)
        tail = iter(in_tail)
        while True:
            self.events += self.state.reach_marks()
            frame = self.state.take_frame()
            if frame is None:
                return self
            if self.state.is_returning:
                self.ways.append("back")
                self._position = self._kept
            if self.state.is_leaving:
                self.ways.append("away")
                self._kept = self._position
            is_tail = frame.audio_samples < len(frame.pcm)
            text_id = next(tail, PADDING) if is_tail else self._said[self._position]
            self._position += 1
            self.events += self.state.apply(frame, text_id, 1.0, self.pauses)

    def find(self, kind: type[Event]) -> list[str]:
        return [e.text for e in self.events if isinstance(e, kind)]  # type: ignore[attr-defined]


def script(delay_steps: int = DELAY_STEPS, **words: int) -> list[int]:
    """Ids by frame: `hello` or `you` written the delay after the frame that it begins in."""
    ids = [PADDING] * 120
    for word, frame in words.items():
        at = frame + delay_steps
        pieces = (END_OF_PADDING, HEL, LO) if word == "hello" else (END_OF_PADDING, YOU)
        ids[at : at + len(pieces)] = pieces
    return ids
