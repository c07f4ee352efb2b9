"""Who is let in next. Pure: no threads."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stt_service.engine.errors import EngineError
from stt_service.engine.options import SessionOptions
from stt_service.engine.slots import Lease

# Everybody in the queue is a connection that waits; more than these are refused as if they did not
# want to wait.
MAX_WAITING = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """How the opening of a session went: its lease, or why it has none."""

    session_id: str
    outcome: Lease | EngineError


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that wants in."""

    session_id: str
    options: SessionOptions

    @property
    def waits(self) -> bool:
        return self.options.wait_for_slot_s > 0


class AdmissionQueue:
    """Openings, first come first served: nobody is let in past somebody who waits.

    How long each may wait is measured by whoever put it in, who withdraws it then.
    """

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._openings: deque[Opening] = deque()
        self._max_waiting = max_waiting

    def __len__(self) -> int:
        return len(self._openings)

    def add(self, opening: Opening) -> None:
        self._openings.append(opening)

    def withdraw(self, session_id: str) -> None:
        """Forget an opening whose caller waits no more."""
        self._openings = deque(o for o in self._openings if o.session_id != session_id)

    def admit(
        self, lease: Callable[[Opening], Lease | None], refusal: Callable[[], EngineError]
    ) -> list[Answer]:
        """Answer whoever can be answered now; the rest go on waiting, in their order.

        `lease` gives the next one its lease, or None while there is none to give.
        """
        answers: list[Answer] = []
        while self._openings:
            found = lease(self._openings[0])
            if found is None:
                break
            answers.append(Answer(self._openings.popleft().session_id, found))
        waiting: deque[Opening] = deque()
        for opening in self._openings:
            if opening.waits and len(waiting) < self._max_waiting:
                waiting.append(opening)
            else:
                answers.append(Answer(opening.session_id, refusal()))
        self._openings = waiting
        return answers

    def refuse_all(self, refusal: Callable[[], EngineError]) -> list[Answer]:
        """Send everybody away."""
        answers = [Answer(opening.session_id, refusal()) for opening in self._openings]
        self._openings.clear()
        return answers
