"""How fast words come back: one stream, many streams at once, and the figures of both."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from client.audio import BLOCK_S, AudioError, PacedSource
from client.events import Final, Flushed, Ready, Token, Word
from client.options import FloatArray
from client.scoring import percentile
from client.stream import SttClient, WebSocketSttClient
from stt.errors import SttError

FLUSH_ID = "latency"
# The server keeps up while its backlog stays below five frames nine times of ten.
REAL_TIME_BACKLOG_S = 0.4
# A flush steps ahead of the audio that comes meanwhile; its backlog says nothing about the load.
AFTER_FLUSH_S = 1.0

MakeClient = Callable[[], SttClient | WebSocketSttClient]
MakeSource = Callable[[int], PacedSource]


@dataclass
class StreamResult:
    """What one stream measured, in seconds. None means that it did not happen."""

    connect_s: float | None = None
    """From the call to `Ready`."""
    token_lags_s: list[float] = field(default_factory=list[float])
    """Of each token: from the moment its word began in the audio to its arrival."""
    flush_s: float | None = None
    """From a flush in the middle of the audio to its `Flushed`."""
    final_s: float | None = None
    """From the end of the audio to `Final`."""
    backlogs_s: list[float] = field(default_factory=list[float])
    """Audio that the server had received and not yet heard, at each token and word."""
    transcript: str = ""
    error: Exception | None = None

    @property
    def first_token_s(self) -> float | None:
        """From the moment the first word began in the audio to its first token."""
        return self.token_lags_s[0] if self.token_lags_s else None


@dataclass(frozen=True)
class Stats:
    """Percentiles of one measurement, in seconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Stats | None:
        """None where nothing was measured."""
        if not values:
            return None
        p50, p90, p99 = (percentile(values, percent) for percent in (50, 90, 99))
        return cls(len(values), p50, p90, p99, max(values))


@dataclass
class LoadResult:
    """All streams of one number of streams at once."""

    streams: int
    results: list[StreamResult]

    @property
    def connect_s(self) -> Stats | None:
        return Stats.of([r.connect_s for r in self.results if r.connect_s is not None])

    @property
    def first_token_s(self) -> Stats | None:
        return Stats.of([r.first_token_s for r in self.results if r.first_token_s is not None])

    @property
    def token_lag_s(self) -> Stats | None:
        return Stats.of(self.token_lags_s)

    @property
    def token_lags_s(self) -> list[float]:
        return list(itertools.chain.from_iterable(r.token_lags_s for r in self.results))

    @property
    def flush_s(self) -> Stats | None:
        return Stats.of([r.flush_s for r in self.results if r.flush_s is not None])

    @property
    def final_s(self) -> Stats | None:
        return Stats.of([r.final_s for r in self.results if r.final_s is not None])

    @property
    def backlog_s(self) -> Stats | None:
        return Stats.of(list(itertools.chain.from_iterable(r.backlogs_s for r in self.results)))

    @property
    def errors(self) -> list[Exception]:
        return [r.error for r in self.results if r.error is not None]

    @property
    def is_in_real_time(self) -> bool:
        """Whether every stream ran to its end and the server kept up with all of them."""
        backlog = self.backlog_s
        return not self.errors and backlog is not None and backlog.p90 <= REAL_TIME_BACKLOG_S


async def measure_load(
    make_client: MakeClient, make_source: MakeSource, streams: int, runs: int = 1
) -> LoadResult:
    """Run so many streams at once, so many times; a stream that fails is a result too."""
    load = LoadResult(streams, [])
    for run in range(runs):
        load.results += await asyncio.gather(
            *(
                # Speakers do not start in step with each other.
                _measure_after(index * BLOCK_S / streams, make_client, make_source, run + index)
                for index in range(streams)
            )
        )
    return load


async def _measure_after(
    delay_s: float, make_client: MakeClient, make_source: MakeSource, number: int
) -> StreamResult:
    await asyncio.sleep(delay_s)
    # A client of its own each: parallel users do not share a connection.
    async with make_client() as client:
        return await measure_stream(client, make_source(number))


async def measure_stream(
    client: SttClient | WebSocketSttClient, source: PacedSource
) -> StreamResult:
    """Stream one source and note when everything comes."""
    result = StreamResult()
    timed = _TimedSource(source)
    called_at = time.monotonic()
    asked_at: float | None = None
    calm_from: float = 0.0
    try:
        async with client.stream(timed) as events:
            async for event in events:
                now = time.monotonic()
                if isinstance(event, Token | Word) and now >= calm_from:
                    result.backlogs_s.append(event.timing.lag_s)
                match event:
                    case Ready():
                        result.connect_s = now - called_at
                    case Token(_, start_s):
                        result.token_lags_s.append(now - source.time_of(start_s))
                    case Word() if asked_at is None and timed.is_past_middle:
                        asked_at, calm_from = now, float("inf")
                        await events.flush(FLUSH_ID)
                    case Flushed() if asked_at is not None:
                        result.flush_s, calm_from = now - asked_at, now + AFTER_FLUSH_S
                    case Final(transcript):
                        result.transcript = transcript
                        result.final_s = now - (timed.ended_at or now)
                    case _:
                        pass
    except (SttError, AudioError) as error:
        result.error = error
    return result


class _TimedSource:
    """Notes when a source ends."""

    def __init__(self, source: PacedSource) -> None:
        self._source = source
        self.ended_at: float | None = None

    @property
    def is_past_middle(self) -> bool:
        return self._source.position_s > self._source.duration_s / 2

    async def __aiter__(self) -> AsyncIterator[FloatArray]:
        async for block in self._source:
            yield block
        self.ended_at = time.monotonic()
