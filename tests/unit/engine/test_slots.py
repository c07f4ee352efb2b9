from hypothesis import given
from hypothesis import strategies as st

from stt_service.engine.slots import Lease, SlotTable


def test_leases_the_lowest_free_slot() -> None:
    table = SlotTable(2)
    first, second = table.lease(), table.lease()
    assert (first, second) == (Lease(0, 1), Lease(1, 2))
    assert table.lease() is None
    assert first is not None and table.release(first)
    assert table.lease() == Lease(0, 3)


def test_a_late_message_to_a_reused_slot_does_nothing() -> None:
    table = SlotTable(1)
    old = table.lease()
    assert old is not None
    table.release(old)
    new = table.lease()
    assert new is not None
    assert new.slot == old.slot
    assert not table.release(old)
    assert table.holds(new)
    assert not table.holds(old)


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=60), st.randoms())
def test_no_slot_is_leased_twice_and_none_is_lost(slots, opens, random) -> None:
    table = SlotTable(slots)
    leases: list[Lease] = []
    for opening in opens:
        if opening:
            lease = table.lease()
            assert (lease is None) == (len(leases) == slots)
            if lease is not None:
                leases.append(lease)
        elif leases:
            assert table.release(leases.pop(random.randrange(len(leases))))
        assert len({lease.slot for lease in leases}) == len(leases)
        assert table.free == slots - len(leases)
        assert all(table.holds(lease) for lease in leases)
