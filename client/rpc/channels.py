"""Connections to the service: as many as the streams need, none of them crowded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

import grpc

MAX_STREAMS_PER_CHANNEL = 50
"""Half of the calls that HTTP/2 servers and edges take on one connection by default (Envoy, nginx:
100 or 128). A call beyond that waits, without an error, until another ends."""

OpenChannel = Callable[[], grpc.aio.Channel]


@dataclass(eq=False)
class _Shared:
    """A channel, and how many streams use it."""

    channel: grpc.aio.Channel
    streams: int = 0


class ChannelPool:
    """Gives each stream a channel that it shares with a bounded number of others.

    The first channel with room is used, so that the later ones empty; an empty one is closed,
    except for the first, which is kept for the next stream. `open_channel` must give every channel
    a connection of its own. Belongs to one event loop.
    """

    def __init__(
        self, open_channel: OpenChannel, max_streams: int = MAX_STREAMS_PER_CHANNEL
    ) -> None:
        self._open_channel = open_channel
        self._max_streams = max_streams
        self._shared = [_Shared(open_channel())]
        self._closings: set[asyncio.Task[None]] = set()
        self._is_retired = False

    @property
    def streams(self) -> list[int]:
        """How many streams each open channel has."""
        return [shared.streams for shared in self._shared]

    @property
    def channels(self) -> list[grpc.aio.Channel]:
        """The open channels."""
        return [shared.channel for shared in self._shared]

    @contextlib.contextmanager
    def share(self) -> Generator[grpc.aio.Channel]:
        """A channel for one stream, which has one call on it at a time, while the block runs."""
        shared = self._find_room()
        shared.streams += 1
        try:
            yield shared.channel
        finally:
            shared.streams -= 1
            if self._is_retired or shared is not self._shared[0]:
                self._close_if_empty(shared)

    def retire(self) -> None:
        """Take no more streams: close each channel when its last stream has ended."""
        self._is_retired = True
        for shared in list(self._shared):
            self._close_if_empty(shared)

    async def close(self) -> None:
        """Close every channel; calls that are still open are cancelled."""
        await asyncio.gather(*(channel.close() for channel in self.channels), *self._closings)

    def _find_room(self) -> _Shared:
        for shared in self._shared:
            if shared.streams < self._max_streams:
                return shared
        self._shared.append(_Shared(self._open_channel()))
        return self._shared[-1]

    def _close_if_empty(self, shared: _Shared) -> None:
        if shared.streams == 0 and shared in self._shared:
            self._shared.remove(shared)
            self._close_soon(shared.channel)

    def _close_soon(self, channel: grpc.aio.Channel) -> None:
        # A stream that ends by being cancelled cannot wait for it.
        closing = asyncio.ensure_future(channel.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
