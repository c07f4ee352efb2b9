"""What the event loop may ask of the model thread, through the one inbox."""

from collections.abc import Sequence
from dataclasses import dataclass

from stt_service.engine.frames import Frame
from stt_service.engine.options import SessionOptions
from stt_service.engine.session_state import Mark
from stt_service.engine.slots import Lease


@dataclass(frozen=True, slots=True)
class Open:
    """Lease a slot to a session, or refuse it; answered by an Answer."""

    session_id: str
    options: SessionOptions


@dataclass(frozen=True, slots=True)
class Push:
    """Queue frames and marks."""

    lease: Lease
    items: Sequence[Frame | Mark]


@dataclass(frozen=True, slots=True)
class Close:
    """Free the slot, whatever is still due."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Abandon:
    """Free the slot of a session that does not know its lease."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Admit nobody new."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End the thread."""


Command = Open | Push | Close | Abandon | Drain | Stop
