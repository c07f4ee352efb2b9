"""Recordings that are still being made: pipes, standard input, named pipes.

A pipe can be read once, and reading blocks until something is written, so a thread does it.
Descriptors are duplicated, so that the caller's standard input is never closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import tempfile
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import IO, Generic, TypeVar

T = TypeVar("T")

# Blocks that are decoded before they are consumed.
BACKLOG_BLOCKS = 32
# Kept in memory until it is known that a recording can be decoded without seeking.
SPOOL_MEMORY_BYTES = 1 << 22
_WHOLE_PIECE_BYTES = 1 << 16


class Pipe:
    """The reading end of a pipe. `read` waits in one thread; `stop` ends it from any other.

    What was read is kept until `forget`, for a decoder that has to start again: phones write the
    index of a recording at its end.
    """

    def __init__(self, open_descriptor: Callable[[], int]) -> None:
        self._open_descriptor = open_descriptor
        self._descriptor: int | None = None
        self._peeked = b""
        self._spool: IO[bytes] | None = None
        self._wake: tuple[int, int] | None = None
        self._closing = threading.Lock()
        self.was_stopped = False
        self.has_ended = False
        """Whether its writer has closed it."""

    @property
    def is_open(self) -> bool:
        """Whether there is something to read from."""
        return self._descriptor is not None

    def open(self) -> None:
        """Wait for a writer, where it is a named pipe."""
        self._wake = os.pipe()
        self._descriptor = self._open_descriptor()
        # `forget` and `close` close it.
        self._spool = tempfile.SpooledTemporaryFile(SPOOL_MEMORY_BYTES)  # noqa: SIM115

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, as soon as there are any; none at the end or after `stop`."""
        if self._peeked:
            data, self._peeked = self._peeked[:size], self._peeked[size:]
            return data
        return self._receive(size)

    def peek(self, size: int) -> bytes:
        """The next bytes, fewer only at the end."""
        while len(self._peeked) < size and (data := self._receive(size - len(self._peeked))):
            self._peeked += data
        return self._peeked[:size]

    def stop(self) -> None:
        """Make `read` report the end from now on. May be called twice."""
        self.was_stopped = True
        with self._closing:
            if self._wake is not None:
                os.write(self._wake[1], b"!")

    def forget(self) -> None:
        """Stop keeping what is read."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def read_whole(self) -> IO[bytes] | None:
        """Everything from its first byte to its end, as a file; None after `forget` or `stop`."""
        while self._receive(_WHOLE_PIECE_BYTES):
            pass
        if self._spool is None or self.was_stopped:
            return None
        self._spool.seek(0)
        return self._spool

    def close(self) -> None:
        """Close it; only when no `read` runs."""
        self.forget()
        if self._descriptor is not None:
            os.close(self._descriptor)
        with self._closing:
            for descriptor in self._wake or ():
                os.close(descriptor)
            self._wake = None

    def _receive(self, size: int) -> bytes:
        assert self._descriptor is not None
        data = b""
        while not self.has_ended and self._wait():
            try:
                data = os.read(self._descriptor, size)
            except BlockingIOError:
                # Another program with the same pipe has made it non-blocking.
                continue
            self.has_ended = not data
            break
        if self._spool is not None:
            self._spool.write(data)
        return data

    def _wait(self) -> bool:
        """Wait for bytes or the end; False after `stop`."""
        # Windows cannot wait for a pipe; there `stop` works when the next bytes come.
        if not self.was_stopped and hasattr(select, "poll"):
            assert self._descriptor is not None and self._wake is not None
            poll = select.poll()
            poll.register(self._descriptor, select.POLLIN)
            poll.register(self._wake[0], select.POLLIN)
            poll.poll()
        return not self.was_stopped


class Background(Generic[T]):
    """Iterates a blocking iterator in a thread and yields its items in the loop, once.

    The thread does not keep the program alive. It runs ahead by at most `BACKLOG_BLOCKS`.
    """

    def __init__(self, items: Callable[[], Iterator[T]], name: str) -> None:
        self._items = items
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._queue: deque[T] = deque()
        self._credit = threading.Semaphore(BACKLOG_BLOCKS)
        self._abandoned = False
        self._ended = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def wait_for_first(self) -> bool:
        """Wait for the first item or the end; whether there is an item.

        Raises the iterator's error if it failed before its first item.
        """
        await self._arrived.wait()
        if self._failure is not None and not self._queue:
            raise self._failure
        return bool(self._queue)

    def end(self) -> None:
        """End after the items that have arrived, even if the thread still waits for more."""
        self._abandoned = self._ended = True
        self._credit.release()
        self._arrived.set()

    async def __aiter__(self) -> AsyncGenerator[T]:
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                while self._queue:
                    item = self._queue.popleft()
                    self._credit.release()
                    yield item
                if self._ended:
                    break
            if self._failure is not None:
                raise self._failure
        finally:
            self._abandoned = True
            self._credit.release()

    def _work(self) -> None:
        failure: BaseException | None = None
        try:
            for item in self._items():
                self._credit.acquire()
                if self._abandoned:
                    return
                self._tell(self._put, item)
        except Exception as error:
            failure = error
        finally:
            self._tell(self._finish, failure)

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        # At exit the loop may be closed already.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _put(self, item: T) -> None:
        self._queue.append(item)
        self._arrived.set()

    def _finish(self, failure: BaseException | None) -> None:
        self._ended = True
        self._failure = failure
        self._arrived.set()
