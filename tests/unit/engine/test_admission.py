"""First come, first served, whatever happens."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.admission import AdmissionQueue, Opening
from stt_service.engine.errors import NoFreeSlot
from stt_service.engine.options import SessionOptions
from stt_service.engine.slots import Lease, SlotTable

SLOTS = 2
PATIENT, IMPATIENT = SessionOptions(wait_for_slot_s=5), SessionOptions()


class Door:
    """A queue in front of a table of slots."""

    def __init__(self, **options) -> None:
        self.queue = AdmissionQueue(**options)
        self.table = SlotTable(SLOTS)
        self.inside: deque[Lease] = deque()
        self.admitted: list[str] = []
        self.refused: list[str] = []

    def admit(self, is_open: bool = True) -> None:
        answers = self.queue.admit(
            lambda _: self.table.lease() if is_open else None, lambda: NoFreeSlot(SLOTS)
        )
        for answer in answers:
            if isinstance(answer.outcome, Lease):
                self.inside.append(answer.outcome)
                self.admitted.append(answer.session_id)
            else:
                self.refused.append(answer.session_id)


actions = st.lists(st.sampled_from(["patient", "impatient", "leave", "give up", "shut"]))


@given(actions)
def test_nobody_is_let_in_past_somebody_who_waits(steps: list[str]) -> None:
    door = Door()
    waiting: list[str] = []
    came: list[str] = []
    for number, step in enumerate(steps):
        name = f"{number:04}"
        match step:
            case "patient" | "impatient":
                came.append(name)
                waiting.append(name)
                options = PATIENT if step == "patient" else IMPATIENT
                door.queue.add(Opening(name, options))
            case "leave" if door.inside:
                door.table.release(door.inside.popleft())
            case "give up" if waiting:
                door.queue.withdraw(waiting.pop())
            case _:
                pass
        door.admit(is_open=step != "shut")
        waiting = [who for who in waiting if who not in door.admitted + door.refused]
        assert len(door.queue) == len(waiting)
        # In the order of their coming, and a slot is free only where nobody waits.
        assert door.admitted == sorted(door.admitted)
        assert step == "shut" or not (waiting and door.table.free)
    assert len(door.inside) == SLOTS - door.table.free


def test_a_queue_that_is_full_refuses_the_last() -> None:
    door = Door(max_waiting=3)
    for number in range(SLOTS + 5):
        door.queue.add(Opening(str(number), PATIENT))
    door.admit()
    assert door.admitted == ["0", "1"]
    assert door.refused == ["5", "6"]
    assert len(door.queue) == 3
