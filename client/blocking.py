"""The client for scripts without asyncio: the same calls, which block until they are done."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterable,
)
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, cast

from client.options import FloatArray, SessionOptions
from client.rpc.errors import CallCancelled
from client.rpc.events import Event, Final
from client.session import TranscriptStream
from client.stream import SttClient, WebSocketSttClient

T = TypeVar("T")

LOST_WAKE_UP_S = 0.5

Source = AsyncIterable[FloatArray] | Iterable[FloatArray]


class BlockingSttClient:
    """Wraps an `SttClient` or a `WebSocketSttClient`.

        with BlockingSttClient(SttClient("127.0.0.1:50051")) as client:
            print(client.transcribe_file("speech.wav").transcript)
            for event in client.stream(blocks):
                ...

    Audio is sent by a thread of its own, so that it flows while the caller handles an event.
    """

    def __init__(self, client: SttClient | WebSocketSttClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._is_closed = False
        self._calls: set[asyncio.Task[Any]] = set()
        self._streams: set[TranscriptStream] = set()
        # A loop of its own in a thread of its own: the caller's thread may run a loop already, as
        # in a notebook.
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run_loop, name="stt-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client; streams that still run fail. May be called twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run_loop(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stopped.wait()
        calls = [*self._calls]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for stream in [*self._streams]:
            await stream.aclose()
        await self._client.aclose()

    def transcribe_file(self, path: str | Path, options: SessionOptions | None = None) -> Final:
        """Transcribe a recording as fast as the server goes, however long it is."""
        return self._wait_for(self._client.transcribe_file(path, options))

    def transcribe(self, source: Source, options: SessionOptions | None = None) -> Final:
        """Transcribe a source to its end."""
        return self._wait_for(self._client.transcribe(_as_async(source), options))

    def stream(self, source: Source, options: SessionOptions | None = None) -> Generator[Event]:
        """Yield events while the audio is sent. `source` may be a plain iterable of blocks."""
        stream = self._client.stream(_as_async(source), options)
        events = aiter(stream)
        self._streams.add(stream)
        try:
            while (event := self._wait_for(_next(events))) is not None:
                yield event
        finally:
            # A client that was closed has ended its streams.
            with contextlib.suppress(CallCancelled):
                self._wait_for(_close(stream))
            self._streams.discard(stream)

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        call = _Call(coroutine, self._loop, self._calls)
        try:
            with self._lock:
                if self._is_closed:
                    coroutine.close()
                    raise CallCancelled("This client was closed. Make another one.")
                self._loop.call_soon_threadsafe(call.start)
            call.wait()
        except KeyboardInterrupt:
            # Only the wait was interrupted. The work must end before the stream is used again.
            self._loop.call_soon_threadsafe(call.cancel)
            call.wait()
            raise
        return call.result()


class _Call(Generic[T]):
    """A coroutine that the loop's thread runs and the caller's thread waits for.

    Ctrl-C may interrupt the caller's thread anywhere, also while it holds the lock inside a
    `threading.Event`, which would then never be released. A `SimpleQueue` holds no such lock.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        loop: asyncio.AbstractEventLoop,
        calls: set[asyncio.Task[Any]],
    ) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._calls = calls
        self._task: asyncio.Task[T] | None = None
        self._has_ended = False
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self) -> None:
        """In the loop's thread."""
        self._task = self._loop.create_task(self._coroutine)
        self._calls.add(self._task)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """In the loop's thread, after `start` or instead of it."""
        if self._task is not None:
            self._task.cancel()
        else:
            self._coroutine.close()
            self._end(None)

    def wait(self) -> None:
        """In the caller's thread: until the work has ended."""
        while not self._has_ended:
            # The one wake-up may have been consumed by a wait that Ctrl-C interrupted.
            with contextlib.suppress(queue.Empty):
                self._woken.get(timeout=LOST_WAKE_UP_S)

    def result(self) -> T:
        """What the coroutine returned or raised."""
        assert self._task is not None
        if self._task.cancelled():
            raise CallCancelled("This client was closed meanwhile.")
        return self._task.result()

    def _end(self, task: asyncio.Task[T] | None) -> None:
        if task is not None:
            self._calls.discard(task)
        self._has_ended = True
        self._woken.put(None)


async def _next(events: AsyncIterator[Event]) -> Event | None:
    return await anext(events, None)


async def _close(stream: TranscriptStream) -> None:
    await stream.aclose()


async def _as_async(source: Source) -> AsyncIterator[FloatArray]:
    if isinstance(source, AsyncIterable):
        async for block in source:
            yield block
        return
    blocks = iter(source)
    while (block := await _call_in_thread(lambda: next(blocks, None))) is not None:
        yield block


async def _call_in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call in a thread that is not joined at exit.

    `asyncio.to_thread` uses a pool whose threads are joined, so a source that never returns would
    keep the program from ending.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failure = error
        # The loop may be gone by now.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, name="stt-client-source", daemon=True).start()
    return await answer
