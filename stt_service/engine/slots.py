"""Which slot is leased to whom."""

from dataclasses import dataclass
from itertools import count


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to one slot. `id` is never used twice, so a late message to a reused slot shows."""

    slot: int
    id: int


class SlotTable:
    """A free list of the model's rows."""

    def __init__(self, slots: int) -> None:
        if slots < 1:
            raise ValueError(f"slots must be at least 1, got {slots}")
        self.total = slots
        # Popped from the end: the lowest free slot first.
        self._free = list(range(slots - 1, -1, -1))
        self._leases: dict[int, Lease] = {}
        self._ids = count(1)

    @property
    def free(self) -> int:
        return len(self._free)

    def lease(self) -> Lease | None:
        """Lease the lowest free slot; None when every slot is taken."""
        if not self._free:
            return None
        lease = Lease(self._free.pop(), next(self._ids))
        self._leases[lease.slot] = lease
        return lease

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still in force."""
        return self._leases.get(lease.slot) == lease

    def release(self, lease: Lease) -> bool:
        """Free the slot. False, and nothing happens, if the lease is no longer in force."""
        if not self.holds(lease):
            return False
        del self._leases[lease.slot]
        self._free.append(lease.slot)
        self._free.sort(reverse=True)
        return True
