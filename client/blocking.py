"""The client for scripts that know no asyncio: the same calls, waiting for their answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from client.events import Event, Final
from client.options import FloatArray, SessionOptions
from client.session import TranscriptStream
from client.stream import SttClient, WebSocketSttClient

T = TypeVar("T")

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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="stt-client", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client; streams that still run fail. May be called twice."""
        if self._loop.is_closed():
            return
        self._wait_for(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def transcribe_file(self, path: str | Path, options: SessionOptions | None = None) -> Final:
        """Transcribe a recording as fast as the server goes, however long it is."""
        return self._wait_for(self._client.transcribe_file(path, options))

    def transcribe(self, source: Source, options: SessionOptions | None = None) -> Final:
        """Transcribe a source to its end."""
        return self._wait_for(self._client.transcribe(_as_async(source), options))

    def stream(self, source: Source, options: SessionOptions | None = None) -> Iterator[Event]:
        """Yield events while the audio is sent. `source` may be a plain iterable of blocks."""
        stream = self._client.stream(_as_async(source), options)
        events = aiter(stream)
        try:
            while (event := self._wait_for(_next(events))) is not None:
                yield event
        finally:
            self._wait_for(_close(stream))

    def _wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C interrupts the waiting, not the work.
            future.cancel()
            raise


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
    # The caller's iterable may wait for a device or a file.
    while (block := await asyncio.to_thread(next, blocks, None)) is not None:
        yield block
