"""A pool of gRPC channels to the service, with a bounded number of sessions on each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

import grpc

MAX_SESSIONS_PER_CHANNEL = 50
"""Half of the calls that HTTP/2 edges take on one connection by default (Envoy, nginx: 100 or 128
streams). Any further call waits silently until another one ends."""

OpenChannel = Callable[[], grpc.aio.Channel]


@dataclass(eq=False)
class _Shared:
    """A channel, and how many sessions use it."""

    channel: grpc.aio.Channel
    sessions: int = 0


class ChannelPool:
    """Gives each session a channel that it shares with a bounded number of others.

    The first channel with room is used, so that later ones empty. An empty channel is closed,
    except the first, which is kept for the next session. `open_channel` must give every channel its
    own connection. Not thread-safe: use it in one event loop.
    """

    def __init__(
        self, open_channel: OpenChannel, most_sessions: int = MAX_SESSIONS_PER_CHANNEL
    ) -> None:
        self._open_channel = open_channel
        self._most_sessions = most_sessions
        self._channels = [_Shared(open_channel())]
        self._closings: set[asyncio.Task[None]] = set()
        self._is_retired = False

    @property
    def sessions(self) -> list[int]:
        """How many sessions each open channel has."""
        return [shared.sessions for shared in self._channels]

    @contextlib.contextmanager
    def share(self) -> Generator[grpc.aio.Channel]:
        """A channel for one session, which makes one call at a time on it, while the block runs."""
        shared = self._find_room()
        shared.sessions += 1
        try:
            yield shared.channel
        finally:
            shared.sessions -= 1
            if self._is_retired or shared is not self._channels[0]:
                self._close_if_empty(shared)

    def retire(self) -> None:
        """Take no more sessions: close each channel when its last session has ended."""
        self._is_retired = True
        for shared in list(self._channels):
            self._close_if_empty(shared)

    async def close(self) -> None:
        """Close every channel; calls that are still open are cancelled."""
        channels = [shared.channel for shared in self._channels]
        await asyncio.gather(*(channel.close() for channel in channels), *self._closings)

    def _find_room(self) -> _Shared:
        for shared in self._channels:
            if shared.sessions < self._most_sessions:
                return shared
        self._channels.append(_Shared(self._open_channel()))
        return self._channels[-1]

    def _close_if_empty(self, shared: _Shared) -> None:
        if shared.sessions == 0 and shared in self._channels:
            self._channels.remove(shared)
            self._close_soon(shared.channel)

    def _close_soon(self, channel: grpc.aio.Channel) -> None:
        # A cancelled session cannot wait for the close.
        closing = asyncio.ensure_future(channel.close())
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
