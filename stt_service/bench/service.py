"""What a live stream costs around the model: CPU time of the server and the gateway, and delays."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stt_service.bench.other_protocols import STREAMS
from stt_service.bench.processes import Served, read_cpu_s, serve
from stt_service.bench.streams import Streams, percentile_ms, read_recordings

OVER_GRPC = ("grpc", "riva")
"""These are served without the gateway."""
PROTOCOLS = ("grpc", "ws", *STREAMS)
# Sessions that open are another matter.
SETTLE_S = 2.0


@dataclass(frozen=True)
class ServiceFigures:
    """CPU times are ms for each second of each stream."""

    protocol: str
    streams: int
    main_ms: float
    """The server's main thread."""
    python_ms: float
    """That and the model thread, which share one interpreter."""
    server_ms: float
    """All threads of the server."""
    gateway_ms: float
    tokens: int
    errors: int
    after_step_p50_ms: float
    """From the end of a step to its token at the client."""
    after_step_p99_ms: float
    backlog_p50_ms: float
    """Audio that waits for the model when a token is sent."""
    backlog_p99_ms: float

    @property
    def python_limit(self) -> int:
        """Streams that would keep one interpreter busy all the time; with a scripted model, which
        needs none of it, what the service around the model can carry."""
        return int(1000 / self.python_ms)


@dataclass(frozen=True)
class ServiceReport:
    model: str
    step_ms: float
    seconds: float
    figures: tuple[ServiceFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rows = [asdict(row) | {"python_limit": row.python_limit} for row in self.figures]
        return {**asdict(self), "figures": rows}


def measure(
    model: str,
    protocols: Sequence[str],
    streams: Sequence[int],
    seconds: float,
    step_ms: float,
    threads: int,
    speech: Path | None,
) -> ServiceReport:
    """Serve so many live streams at a time, in real time, each for `seconds`.

    They say the recordings in the folder `speech`, or send noise. Raises InvalidSetting.
    """
    if speech:
        # So that a folder without any is known before a server starts.
        read_recordings(speech)
    figures: list[ServiceFigures] = []
    for count in streams:
        with serve(model, count, step_ms, threads) as served:
            figures += [
                _measure_streams(served, each, count, seconds, speech) for each in protocols
            ]
    return ServiceReport(model, step_ms, seconds, tuple(figures))


def _measure_streams(
    served: Served, protocol: str, count: int, seconds: float, speech: Path | None
) -> ServiceFigures:
    address = served.grpc if protocol in OVER_GRPC else served.http
    running = Streams(protocol, address, count, seconds, speech)
    _sleep_until(running.begins_at + SETTLE_S)
    started, before = time.time(), _read_cpu_s(served)
    _sleep_until(running.ends_at)
    lasted_s, after = time.time() - started, _read_cpu_s(served)
    heard = running.wait()
    scale = 1000 / lasted_s / count
    spent = {thread: s - before[0].get(thread, 0.0) for thread, s in after[0].items()}
    main_s = spent.pop(served.pid)
    return ServiceFigures(
        protocol=protocol,
        streams=count,
        main_ms=main_s * scale,
        # Of the others only the model thread runs Python; gRPC's own are below it.
        python_ms=(main_s + max(spent.values())) * scale,
        server_ms=(main_s + sum(spent.values())) * scale,
        gateway_ms=(sum(after[1].values()) - sum(before[1].values())) * scale,
        tokens=heard.tokens,
        errors=len(heard.errors),
        after_step_p50_ms=percentile_ms(heard.after_step_s, 50),
        after_step_p99_ms=percentile_ms(heard.after_step_s, 99),
        backlog_p50_ms=percentile_ms(heard.backlog_s, 50),
        backlog_p99_ms=percentile_ms(heard.backlog_s, 99),
    )


def _read_cpu_s(served: Served) -> tuple[dict[int, float], dict[int, float]]:
    """Of the threads of the server, and of those of the gateway."""
    return read_cpu_s(served.pid), read_cpu_s(served.gateway_pid)


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.time()))


def format_table(report: ServiceReport) -> str:
    """The figures for a person."""
    step = f", {report.step_ms:g} ms a step" if report.model == "scripted" else ""
    lines = [
        f"{report.model} model{step}; CPU in ms for each second of each stream",
        "                 server CPU             gateway       token after step    backlog",
        "     streams   main  python     all        CPU  limit   p50 ms   p99 ms   p50 ms  p99 ms"
        "  errors",
    ]
    lines += [
        f"{row.protocol:<7} {row.streams:>4} {row.main_ms:>6.2f} {row.python_ms:>7.2f} "
        f"{row.server_ms:>7.2f} {row.gateway_ms:>10.2f} {row.python_limit:>6} "
        f"{row.after_step_p50_ms:>8.1f} {row.after_step_p99_ms:>8.1f} {row.backlog_p50_ms:>8.0f} "
        f"{row.backlog_p99_ms:>7.0f} {row.errors:>7}"
        for row in report.figures
    ]
    return "\n".join(lines)
