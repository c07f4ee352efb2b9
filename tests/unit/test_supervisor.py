import asyncio

import pytest
from hypothesis import given

from stt_service.supervisor import race
from tests.unit.running_together import CANCELLATIONS, PLANS, Plan, leaves_nothing


@given(PLANS, CANCELLATIONS)
def test_a_race_leaves_nothing_behind_however_endings_and_cancellations_fall(
    plans: list[Plan], cancel_after: list[int]
):
    asyncio.run(leaves_nothing(race, plans, cancel_after))


async def test_a_race_says_who_won_and_raises_what_the_winner_raised():
    async def fail() -> None:
        raise ValueError("broken")

    assert await race(asyncio.sleep(60), asyncio.sleep(0)) == 1
    with pytest.raises(ValueError, match="broken"):
        await race(asyncio.sleep(60), fail())
