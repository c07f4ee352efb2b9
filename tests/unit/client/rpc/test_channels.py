"""The pool against gRPC's own channels, which connect to nobody here."""

import asyncio
import contextlib

import grpc
from hypothesis import given
from hypothesis import strategies as st

from client.rpc.channels import MAX_STREAMS_PER_CHANNEL, ChannelPool

MOST = 3
# An HTTP/2 edge takes 100 calls on a connection, by Envoy's defaults for the internet.
EDGE_LIMIT = 100
SHUTDOWN = grpc.ChannelConnectivity.SHUTDOWN


class Channels:
    """Opens channels and knows which are open."""

    def __init__(self) -> None:
        self.opened: list[grpc.aio.Channel] = []

    def open(self) -> grpc.aio.Channel:
        self.opened.append(grpc.aio.insecure_channel("127.0.0.1:1"))
        return self.opened[-1]

    @property
    def open_now(self) -> int:
        return sum(channel.get_state() is not SHUTDOWN for channel in self.opened)


async def come_and_go(comings: list[int]) -> None:
    """A number is a stream that comes (0) or the one in that place that goes."""
    channels = Channels()
    pool = ChannelPool(channels.open, MOST)
    inside: list[contextlib.ExitStack] = []
    for coming in comings:
        if coming == 0 or not inside:
            inside.append(contextlib.ExitStack())
            inside[-1].enter_context(pool.share())
        else:
            inside.pop(coming % len(inside)).close()
        # Channels are closed in a task of the pool's own.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert sum(pool.streams) == len(inside)
        assert max(pool.streams) <= MOST
        assert all(pool.streams[1:]), "a channel beyond the first is closed when it is empty"
        assert channels.open_now == len(pool.streams)
    for session in inside:
        session.close()
    assert pool.streams == [0]
    await pool.close()
    assert channels.open_now == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@given(st.lists(st.one_of(st.just(0), st.integers(0, 100)), max_size=40))
def test_no_channel_is_crowded_none_is_idle_but_the_first_and_none_is_left_open(
    comings: list[int],
):
    asyncio.run(come_and_go(comings))


async def test_later_channels_empty_because_the_first_with_room_is_taken():
    channels = Channels()
    pool = ChannelPool(channels.open, max_streams=1)
    with pool.share() as first:
        with pool.share() as second:
            assert first is not second
        with pool.share() as third:
            assert third not in (first, second)
    with pool.share() as again:
        assert again is first
    await pool.close()


def test_a_channel_stays_far_below_what_an_edge_takes():
    assert 2 * MAX_STREAMS_PER_CHANNEL <= EDGE_LIMIT
