"""Latency figures as JSON (schema.json) and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from client.latency.measure import LoadResult, Stats

SCHEMA_PATH = Path(__file__).with_name("schema.json")
SCHEMA_VERSION = 1

Json = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What was measured, and how."""

    target: str
    protocol: str
    rtf: float
    audio_s: float
    runs: int
    started_at: datetime


@dataclass(frozen=True)
class GpuResult:
    """One GPU of a comparison: its load, or why there is none."""

    gpu: str
    app: str
    price_per_hour_usd: float | None
    load: LoadResult | None = None
    error: str | None = None

    @property
    def price_per_stream_hour_usd(self) -> float | None:
        """The price of an hour of one of the streams that ran at once, if all went well."""
        if self.price_per_hour_usd is None or self.load is None or self.load.errors:
            return None
        return self.price_per_hour_usd / self.load.streams


def to_json(setup: Setup, loads: Sequence[LoadResult], gpus: Sequence[GpuResult] = ()) -> Json:
    """The document that `schema.json` describes. All times are seconds."""
    return {
        "schema_version": SCHEMA_VERSION,
        "target": setup.target,
        "protocol": setup.protocol,
        "rtf": setup.rtf,
        "audio_s": setup.audio_s,
        "runs": setup.runs,
        "started_at": setup.started_at.isoformat(timespec="seconds"),
        "loads": [_load_to_json(load) for load in loads],
        "most_streams_in_real_time": find_most_streams(loads),
        "gpus": [
            {
                "gpu": result.gpu,
                "app": result.app,
                "price_per_hour_usd": result.price_per_hour_usd,
                "price_per_stream_hour_usd": result.price_per_stream_hour_usd,
                "load": None if result.load is None else _load_to_json(result.load),
                "error": result.error,
            }
            for result in gpus
        ],
    }


def find_most_streams(loads: Sequence[LoadResult]) -> int | None:
    """The most streams that stayed in real time, with every smaller number; None for none."""
    most: int | None = None
    for load in sorted(loads, key=lambda load: load.streams):
        if not load.is_in_real_time:
            break
        most = load.streams
    return most


def _load_to_json(load: LoadResult) -> Json:
    return {
        "streams": load.streams,
        "connect_s": _stats_to_json(load.connect_s),
        "first_token_s": _stats_to_json(load.first_token_s),
        "token_lag_s": _stats_to_json(load.token_lag_s),
        "flush_s": _stats_to_json(load.flush_s),
        "final_s": _stats_to_json(load.final_s),
        "backlog_s": _stats_to_json(load.backlog_s),
        "in_real_time": load.is_in_real_time,
        "transcripts": [result.transcript.strip() for result in load.results],
        "errors": [{"type": type(error).__name__, "message": str(error)} for error in load.errors],
    }


def _stats_to_json(stats: Stats | None) -> Json | None:
    if stats is None:
        return None
    return {name: round(value, 4) for name, value in asdict(stats).items()}


def draw_load_table(load: LoadResult) -> Table:
    """The figures of one number of streams, in seconds."""
    noun = "stream" if load.streams == 1 else "streams"
    table = Table(title=f"{load.streams} {noun} at once, seconds", title_justify="left")
    table.add_column("")
    for name in ("p50", "p90", "p99", "max", "measured"):
        table.add_column(name, justify="right")
    rows = {
        "connect": load.connect_s,
        "first token after its word began": load.first_token_s,
        "every token after its word began": load.token_lag_s,
        "flush to flushed": load.flush_s,
        "end of audio to final": load.final_s,
        "server's backlog": load.backlog_s,
    }
    for name, stats in rows.items():
        if stats is None:
            table.add_row(name, *"----", "0")
        else:
            figures = (stats.p50, stats.p90, stats.p99, stats.max)
            table.add_row(name, *(f"{value:.3f}" for value in figures), str(stats.count))
    return table


def draw_gpus_table(gpus: Sequence[GpuResult]) -> Table:
    """A row for each GPU, with its price."""
    table = Table(title="seconds: p50 / p90 / p99", title_justify="left")
    for name in ("GPU", "first token", "token lag", "end to final", "$/h", "$/stream-hour", ""):
        table.add_column(name)
    for result in gpus:
        load = result.load
        table.add_row(
            result.gpu,
            *map(
                _show,
                (load.first_token_s, load.token_lag_s, load.final_s) if load else (None,) * 3,
            ),
            _show_price(result.price_per_hour_usd, 2),
            _show_price(result.price_per_stream_hour_usd, 3),
            _show_outcome(result),
        )
    return table


def _show_outcome(result: GpuResult) -> str:
    if result.error:
        return "failed"
    return f"{len(result.load.errors)} errors" if result.load and result.load.errors else ""


def _show(stats: Stats | None) -> str:
    return "-" if stats is None else f"{stats.p50:.2f} / {stats.p90:.2f} / {stats.p99:.2f}"


def _show_price(price_usd: float | None, digits: int) -> str:
    return "-" if price_usd is None else f"{price_usd:.{digits}f}"
