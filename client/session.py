"""One stream over as many connections as it takes: two pumps, and what happens when one breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
)
from typing import Protocol

import numpy as np

from client.background import TaskGenerator, background
from client.options import (
    FRAME_SAMPLES,
    SAMPLE_RATE_HERTZ,
    FloatArray,
    ReconnectPolicy,
    SessionOptions,
)
from client.rpc.errors import Idle, ServerFailed, ServerFull, ServerUnavailable, SttError
from client.rpc.events import Event, Final, Flushed, Pause, Ping, ServerEvent, Word
from client.rpc.replay import Transcript
from client.rpc.retry import OnWait, Patience, Retry
from client.rpc.tape import Tape, whole_frames

MAX_MESSAGE_SAMPLES = SAMPLE_RATE_HERTZ
NO_AUDIO: FloatArray = np.zeros(0, np.float32)


class Connection(Protocol):
    """One session on the server. Times in its events count from its own first sample."""

    async def send_audio(self, pcm: FloatArray) -> None: ...
    async def send_flush(self, flush_id: str) -> None: ...
    async def send_end(self) -> None: ...
    def events(self) -> AsyncIterator[ServerEvent]:
        """Until the session ends; raises the `SttError` that says why, unless `send_end` is why.

        `Final` comes before that error if the server had time for it: it then is the transcript of
        what the server has heard, which need not be all there is.
        """
        ...

    async def aclose(self) -> None:
        """Close at once, without waiting for what the server still has to send."""
        ...


Connect = Callable[[], Awaitable[Connection]]


class TranscriptStream:
    """The events of one stream: iterate it, once. `flush` may be called meanwhile.

    Closing it (`async with`, or `aclose`) ends the session on every way out of the loop.
    """

    def __init__(
        self,
        source: AsyncIterable[FloatArray],
        connect: Connect,
        options: SessionOptions,
        reconnect: ReconnectPolicy,
        patience: Patience,
        on_wait: OnWait | None = None,
    ) -> None:
        self._source = source
        self._connect = connect
        self._options = options
        self._reconnect = reconnect
        self._patience = patience
        self._retry = Retry(self._limit_s, on_wait)
        self._tape = Tape(NO_AUDIO)
        self._recorded = asyncio.Event()
        self._forgotten = asyncio.Event()
        self._transcript = Transcript()
        self._sent_until = 0
        self._is_end_sent = False
        self._base = 0
        # The server's last `Final`, if our audio goes on behind it.
        self._interim: Final | None = None
        self._is_iterated = False
        self._told = TaskGenerator(self._events)

    async def flush(self, flush_id: str = "") -> None:
        """Ask for every word of the audio so far; `Flushed` with this id comes after them."""
        self._tape.mark_flush(flush_id)
        self._recorded.set()

    def __aiter__(self) -> AsyncIterator[Event]:
        if self._is_iterated:
            raise RuntimeError("A stream can be iterated once; open another one.")
        self._is_iterated = True
        return self._told.iterate()

    async def aclose(self) -> None:
        """End the session, in any state."""
        await self._told.aclose()

    async def __aenter__(self) -> TranscriptStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _events(self) -> AsyncGenerator[Event]:
        self._retry.reset()
        heard_until_s = 0.0
        broken: SttError | None = None
        # All words come first; an error of the source is raised on leaving this block.
        async with background(self._record()):
            while True:
                try:
                    async with contextlib.aclosing(self._converse(broken)) as events:
                        async for event in events:
                            yield event
                    return
                except SttError as error:
                    broken = error
                if self._interim is not None and not self._limit_s(broken):
                    for told in self._accept(self._interim):
                        yield told
                if self._transcript.processed_s > heard_until_s:
                    heard_until_s = self._transcript.processed_s
                    self._retry.reset()
                await self._retry.pause(broken)

    async def _converse(self, broken: SttError | None) -> AsyncGenerator[Event]:
        """One connection, from its first event to its last."""
        connection = await self._connect()
        async with contextlib.aclosing(connection):
            base = self._base = self._forget_settled()
            reason = str(broken) if broken and self._transcript.was_admitted else None
            self._transcript.begin(base / SAMPLE_RATE_HERTZ, reason)
            self._interim, self._is_end_sent = None, False
            is_complete = False
            try:
                async with background(self._send(connection, base)):
                    async for event in connection.events():
                        if isinstance(event, Final):
                            is_complete = self._is_complete(event)
                            if not is_complete:
                                self._interim = event
                                continue
                        for told in self._accept(event):
                            yield told
                        self._forget_settled()
            except SttError:
                # With everything said, how the connection ended does not matter.
                if not is_complete:
                    raise
            if is_complete:
                return
            if self._interim is None or not self._is_end_sent:
                raise ServerFailed("The server ended the session before its end.")
            # It says that all is well, and perhaps counts its audio in its own way.
            for told in self._accept(self._interim):
                yield told

    def _accept(self, event: ServerEvent) -> list[Event]:
        """What the caller wants to see of an event."""
        return [told for told in self._transcript.accept(event) if self._is_wanted(told)]

    def _is_complete(self, final: Final) -> bool:
        """Whether a connection's `Final` covers all audio of the stream.

        Otherwise the server ended the session on its own: it drains, or the network stalled and no
        audio reached it. Its last word may be cut in two, so it is a break like any other.
        """
        return self._tape.finished and not self._has_audio_after(final)

    def _has_audio_after(self, final: Final) -> bool:
        heard_until = self._base + round(final.audio_duration_s * SAMPLE_RATE_HERTZ)
        return heard_until + FRAME_SAMPLES <= self._tape.end

    def _is_wanted(self, event: Event) -> bool:
        match event:
            case Word():
                return self._options.words
            case Pause():
                return self._options.pauses
            case Ping():
                return self._options.pings
            case Flushed():
                # A replay may have asked twice.
                return self._tape.confirm_flush(event.flush_id)
            case _:
                return True

    def _limit_s(self, error: SttError) -> float:
        """How long to keep trying after this error."""
        if not self._transcript.was_admitted:
            return self._patience.limit_s(error)
        if (
            self._reconnect.enabled
            and self._may_pass(error)
            and self._retry.failures <= self._reconnect.attempts_without_progress
        ):
            return self._reconnect.patience_s
        return 0.0

    def _may_pass(self, error: SttError) -> bool:
        match error:
            case Idle():
                # There was audio, and it did not get through; else it is the caller who is idle.
                return self._interim is None or self._has_audio_after(self._interim)
            case _:
                return isinstance(error, (ServerUnavailable, ServerFull, ServerFailed))

    async def _record(self) -> None:
        """Source → tape, waiting while the tape is full."""
        buffer_samples = self._reconnect.buffer_s * SAMPLE_RATE_HERTZ
        try:
            async for block in self._source:
                while self._tape.end - self._tape.start >= buffer_samples:
                    self._forgotten.clear()
                    await self._forgotten.wait()
                self._tape.record(block)
                self._recorded.set()
        finally:
            self._tape.finished = True
            self._recorded.set()

    async def _send(self, connection: Connection, base: int) -> None:
        """Tape → connection, from `base` to the end."""
        try:
            await self._send_tape(connection, base)
        except SttError:
            # The receiving side gets the reason of a broken connection and raises it.
            return
        except Exception:
            await connection.aclose()
            raise

    async def _send_tape(self, connection: Connection, base: int) -> None:
        self._sent_until, next_mark = base, 0
        while True:
            self._recorded.clear()
            mark = next(self._tape.marks_from(next_mark), None)
            until = mark[1].position if mark else self._tape.end
            limit = min(until - self._sent_until, MAX_MESSAGE_SAMPLES)
            pcm = self._tape.read(self._sent_until, limit)
            if len(pcm):
                await connection.send_audio(pcm)
                self._sent_until += len(pcm)
            elif mark:
                await connection.send_flush(mark[1].flush_id)
                next_mark = mark[0] + 1
            elif self._tape.finished:
                await connection.send_end()
                self._is_end_sent = True
                return
            else:
                await self._recorded.wait()

    def _forget_settled(self) -> int:
        """Drop the audio that no replay will need; returns the sample where one would start."""
        restart_s = self._transcript.find_restart_s(self._reconnect.context_s)
        base = whole_frames(restart_s, FRAME_SAMPLES)
        # Just after a replay began, what is settled may lie ahead of what is sent.
        self._tape.forget_before(min(base, self._sent_until))
        self._forgotten.set()
        return base
