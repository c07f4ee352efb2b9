"""ChannelPool with real gRPC channels that are never connected."""

import asyncio
import contextlib

import grpc
from hypothesis import given
from hypothesis import strategies as st

from gateway.channels import MAX_SESSIONS_PER_CHANNEL, ChannelPool

MOST = 3
# An HTTP/2 edge takes 100 calls on a connection, by Envoy's defaults for the internet.
EDGE_LIMIT = 100
SHUTDOWN = grpc.ChannelConnectivity.SHUTDOWN


class Channels:
    """Opens channels and keeps track of open ones."""

    def __init__(self) -> None:
        self.opened: list[grpc.aio.Channel] = []

    def open(self) -> grpc.aio.Channel:
        self.opened.append(grpc.aio.insecure_channel("127.0.0.1:1"))
        return self.opened[-1]

    @property
    def open_now(self) -> int:
        return sum(channel.get_state() is not SHUTDOWN for channel in self.opened)


async def come_and_go(comings: list[int]) -> None:
    """Run the sessions: 0 opens one, another number ends the one at that place."""
    channels = Channels()
    pool = ChannelPool(channels.open, MOST)
    inside: list[contextlib.ExitStack] = []
    for coming in comings:
        if coming == 0 or not inside:
            inside.append(contextlib.ExitStack())
            inside[-1].enter_context(pool.share())
        else:
            inside.pop(coming % len(inside)).close()
        # The pool closes channels in tasks of its own.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(pool.sessions) == len(inside)
        assert max(pool.sessions) <= MOST
        assert all(pool.sessions[1:]), "a channel beyond the first is closed when it is empty"
        assert channels.open_now == len(pool.sessions)
    for session in inside:
        session.close()
    assert pool.sessions == [0]
    await pool.close()
    assert channels.open_now == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(st.lists(st.one_of(st.just(0), st.integers(0, 100)), max_size=40))
def test_channels_are_bounded_closed_when_empty_and_all_closed_at_the_end(
    comings: list[int],
):
    asyncio.run(come_and_go(comings))


async def test_the_first_channel_with_room_is_used():
    channels = Channels()
    pool = ChannelPool(channels.open, most_sessions=1)
    with pool.share() as first:
        with pool.share() as second:
            assert first is not second
        with pool.share() as third:
            assert third not in (first, second)
    with pool.share() as again:
        assert again is first
    await pool.close()


def test_a_channel_stays_far_below_the_limit_of_an_edge():
    assert 2 * MAX_SESSIONS_PER_CHANNEL <= EDGE_LIMIT
