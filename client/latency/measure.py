"""How fast words come back: one stream, many streams at once, and the figures of both."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field

from client.audio import BLOCK_S, AudioError
from client.latency.audio import StreamPlan
from client.options import FloatArray
from client.rpc.errors import SttError
from client.rpc.events import Final, Flushed, Ready, Token, Word
from client.scoring import percentile
from client.session import TranscriptStream
from client.stream import SttClient, WebSocketSttClient

FLUSH_ID = "latency"
# The server keeps up while its backlog stays below five frames nine times of ten.
REAL_TIME_BACKLOG_S = 0.4
# A flush steps ahead of the audio that comes meanwhile; its backlog says nothing about the load.
AFTER_FLUSH_S = 1.0

MakeClient = Callable[[], SttClient | WebSocketSttClient]
PlanStream = Callable[[int], StreamPlan]


@dataclass
class StreamResult:
    """What one stream measured, in seconds. None means that it did not happen."""

    connect_s: float | None = None
    """From the call to `Ready`."""
    token_lags_s: list[float] = field(default_factory=list[float])
    """Of each token: from the moment its word began in the audio to its arrival."""
    flush_s: float | None = None
    """From a flush in a quiet moment of the audio to its `Flushed`."""
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
    def of(cls, values: Iterable[float | None]) -> Stats | None:
        """Skips None, which was not measured; returns None if nothing was."""
        measured = [value for value in values if value is not None]
        if not measured:
            return None
        p50, p90, p99 = (percentile(measured, percent) for percent in (50, 90, 99))
        return cls(len(measured), p50, p90, p99, max(measured))


@dataclass
class LoadResult:
    """All streams of one number of streams at once."""

    streams: int
    results: list[StreamResult]

    @property
    def connect_s(self) -> Stats | None:
        return Stats.of(r.connect_s for r in self.results)

    @property
    def first_token_s(self) -> Stats | None:
        return Stats.of(r.first_token_s for r in self.results)

    @property
    def token_lag_s(self) -> Stats | None:
        return Stats.of(self.token_lags_s)

    @property
    def token_lags_s(self) -> list[float]:
        return list(itertools.chain.from_iterable(r.token_lags_s for r in self.results))

    @property
    def flush_s(self) -> Stats | None:
        return Stats.of(r.flush_s for r in self.results)

    @property
    def final_s(self) -> Stats | None:
        return Stats.of(r.final_s for r in self.results)

    @property
    def backlog_s(self) -> Stats | None:
        return Stats.of(itertools.chain.from_iterable(r.backlogs_s for r in self.results))

    @property
    def errors(self) -> list[Exception]:
        return [r.error for r in self.results if r.error is not None]

    @property
    def is_in_real_time(self) -> bool:
        """Whether every stream ran to its end and the server kept up with all of them."""
        backlog = self.backlog_s
        return not self.errors and backlog is not None and backlog.p90 <= REAL_TIME_BACKLOG_S


async def measure_load(
    make_client: MakeClient, plan_stream: PlanStream, streams: int, runs: int = 1
) -> LoadResult:
    """Run `streams` at once, `runs` times; a stream that fails is a result too."""
    load = LoadResult(streams, [])
    for run in range(runs):
        load.results += await asyncio.gather(
            *(
                # Speakers do not start at the same moment.
                _measure_after(index * BLOCK_S / streams, make_client, plan_stream, run + index)
                for index in range(streams)
            )
        )
    return load


async def _measure_after(
    delay_s: float, make_client: MakeClient, plan_stream: PlanStream, number: int
) -> StreamResult:
    await asyncio.sleep(delay_s)
    # A client of its own each: parallel users do not share a connection.
    async with make_client() as client:
        return await measure_stream(client, plan_stream(number))


async def measure_stream(client: SttClient | WebSocketSttClient, plan: StreamPlan) -> StreamResult:
    """Run one stream and note when everything comes."""
    result = StreamResult()
    source = _ProbedSource(plan)
    called_at = time.monotonic()
    calm_from = 0.0
    try:
        async with client.stream(source) as events:
            source.stream = events
            async for event in events:
                now = time.monotonic()
                if isinstance(event, Token | Word) and now >= calm_from and not source.is_flushing:
                    result.backlogs_s.append(event.timing.lag_s)
                match event:
                    case Ready():
                        result.connect_s = now - called_at
                    case Token(_, start_s):
                        result.token_lags_s.append(now - plan.source.time_of(start_s))
                    case Flushed() if source.flush_asked_at is not None:
                        result.flush_s, calm_from = now - source.flush_asked_at, now + AFTER_FLUSH_S
                        source.is_flushing = False
                    case Final(transcript):
                        result.transcript = transcript
                        result.final_s = now - (source.ended_at or now)
                    case _:
                        pass
    except (SttError, AudioError) as error:
        result.error = error
    return result


class _ProbedSource:
    """Asks for a flush at its moment, and notes when that was and when the audio ended."""

    def __init__(self, plan: StreamPlan) -> None:
        self._plan = plan
        self.stream: TranscriptStream | None = None
        self.is_flushing = False
        self.flush_asked_at: float | None = None
        self.ended_at: float | None = None

    async def __aiter__(self) -> AsyncIterator[FloatArray]:
        source = self._plan.source
        async for block in source:
            yield block
            is_due = self.flush_asked_at is None and source.position_s >= self._plan.flush_at_s
            if is_due and self.stream is not None:
                self.flush_asked_at, self.is_flushing = time.monotonic(), True
                await self.stream.flush(FLUSH_ID)
        self.ended_at = time.monotonic()
