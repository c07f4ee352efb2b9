"""gRPC channels of one client: a pool for each event loop that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial

import grpc

from client.rpc.channel import Endpoint, open_channel
from client.rpc.channels import ChannelPool
from client.rpc.errors import CallCancelled


class LoopChannels:
    """A channel works in the loop that made it and in no other.

    A client may outlive its loop (a second `asyncio.run`), or serve several at once (threads).
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._by_loop: dict[asyncio.AbstractEventLoop, ChannelPool] = {}
        self._is_closed = False

    async def get_pool(self) -> ChannelPool:
        """The channels of the running loop. Raises `CallCancelled` after `aclose`."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._is_closed:
                raise CallCancelled("This client was closed. Make another one.")
            dead = [self._by_loop.pop(other) for other in [*self._by_loop] if other.is_closed()]
            if loop not in self._by_loop:
                self._by_loop[loop] = ChannelPool(partial(open_channel, self._endpoint))
            pool = self._by_loop[loop]
        for orphan in dead:
            await _close_all(orphan.channels)
        return pool

    async def aclose(self) -> None:
        """Close every channel, whichever loop it belongs to. May be called twice."""
        with self._lock:
            self._is_closed = True
            pools, self._by_loop = self._by_loop, {}
        here = asyncio.get_running_loop()
        for loop, pool in pools.items():
            if loop is here:
                await pool.close()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(pool.close(), loop)
                await asyncio.wrap_future(closing)
            else:
                await _close_all(pool.channels)


async def _close_all(channels: list[grpc.aio.Channel]) -> None:
    for channel in channels:
        # Calls of a closed loop cannot be notified any more; the connection is closed anyway.
        with contextlib.suppress(RuntimeError):
            await channel.close()
