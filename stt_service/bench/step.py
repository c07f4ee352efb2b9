"""Our step beside stock moshi's, alternating in one process, so that both meet the same neighbours.

Rings are full from the first step that is timed: a long session costs what it costs.
"""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, cast

import torch
from torch.profiler import ProfilerActivity, profile

from stt_service.bench.stock import StockMoshi
from stt_service.deploy.bench import make_plans, time_ms
from stt_service.engine.step.linear import Int8
from stt_service.engine.step.mimi import Codebook
from stt_service.engine.step.moshi_model import MoshiModel

UNTIMED_STEPS = 3
BANDWIDTH_BYTES = 512 << 20
ALONE = 1
LONG_FRAMES = 10_000
"""More than any ring holds."""
# Of these a step reads a few rows only.
TABLES = ("embeddings",)


@dataclass(frozen=True)
class StepFigures:
    """Medians, in ms of wall time. `ratio` is the median of each step's own."""

    slots: int
    streams: int
    """How many of the slots step, from the lowest on."""
    ours_ms: float
    stock_ms: float | None
    ratio: float | None
    aten_calls: int
    read_mib: float
    """Weights, and the streams' state: what a step reads at least once."""
    floor_ms: float
    """What reading them takes."""
    slot_mib: float
    """State of one slot."""


@dataclass(frozen=True)
class StepReport:
    checkpoint: str
    weights: str
    stock_weights: str
    threads: int
    bandwidth_gb_s: float
    figures: tuple[StepFigures, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(
    source: str,
    name: str,
    batch_sizes: Sequence[int],
    steps: int,
    threads: int,
    weights: str,
    stock_weights: str | None,
) -> StepReport:
    """Time full batches beside stock moshi, and one stream alone on as many slots."""
    torch.set_num_threads(threads)
    bandwidth = measure_bandwidth()
    figures: list[StepFigures] = []
    for slots in batch_sizes:
        model = MoshiModel(source, slots, "cpu", threads, weights)
        model.warm_up()
        stock = None
        if stock_weights is not None:
            stock = StockMoshi(source, slots, getattr(torch, stock_weights))
        figures.append(_measure_steps(model, stock, slots, steps, bandwidth))
        if slots > ALONE:
            figures.append(_measure_steps(model, None, ALONE, steps, bandwidth))
        del model, stock
        gc.collect()
    return StepReport(
        checkpoint=name,
        weights=weights,
        stock_weights=stock_weights or "",
        threads=threads,
        bandwidth_gb_s=bandwidth / 1e9,
        figures=tuple(figures),
    )


def _measure_steps(
    model: MoshiModel, stock: StockMoshi | None, streams: int, steps: int, bandwidth: float
) -> StepFigures:
    plans = make_plans(model, streams)
    ours_ms: list[float] = []
    stock_ms: list[float] = []
    model.age(LONG_FRAMES)
    for step in range(UNTIMED_STEPS + steps):
        plan = next(plans)
        ours = time_ms(lambda plan=plan: model.step(plan))
        theirs = time_ms(lambda plan=plan: stock.step(plan.pcm)) if stock else 0.0
        if step >= UNTIMED_STEPS:
            ours_ms.append(ours)
            stock_ms.append(theirs)
    slot_bytes = model.network.make_state(1, "meta").nbytes
    read = count_weight_bytes(model.network) + streams * slot_bytes
    ratios = [a / b for a, b in zip(ours_ms, stock_ms, strict=True)] if stock else []
    return StepFigures(
        slots=model.slots,
        streams=streams,
        ours_ms=statistics.median(ours_ms),
        stock_ms=statistics.median(stock_ms) if stock else None,
        ratio=statistics.median(ratios) if stock else None,
        aten_calls=count_calls(lambda: model.step(next(plans))),
        read_mib=read / 2**20,
        floor_ms=1000 * read / bandwidth,
        slot_mib=slot_bytes / 2**20,
    )


def count_weight_bytes(weights: object) -> int:
    """What a step reads at least once of a network or a part of it."""
    if isinstance(weights, torch.Tensor):
        return weights.numel() * weights.element_size()
    if isinstance(weights, Int8):
        return weights.nbytes
    if is_dataclass(weights):
        return sum(
            count_weight_bytes(getattr(weights, part.name))
            for part in fields(weights)
            if part.name not in TABLES
        )
    if isinstance(weights, Codebook):
        return count_weight_bytes(weights.doubled)
    if isinstance(weights, tuple):
        return sum(count_weight_bytes(part) for part in cast(tuple[object, ...], weights))
    return 0


def measure_bandwidth() -> float:
    """Bytes a second at which the threads of torch read memory, at their best."""
    numbers = torch.zeros(BANDWIDTH_BYTES // 4)
    best_ms = min(time_ms(numbers.sum) for _ in range(8))
    return BANDWIDTH_BYTES * 1000 / best_ms


def count_calls(function: Callable[[], object]) -> int:
    """ATen calls, those that others make among them."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        function()
    events: Any = profiled.events()
    return sum(event.name.startswith("aten::") for event in events)


def format_table(report: StepReport) -> str:
    """The figures for a person."""
    lines = [
        f"{report.checkpoint}, {report.weights} weights, {report.threads} threads, memory read at "
        f"{report.bandwidth_gb_s:.1f} GB/s",
        " slots  streams  ours ms  stock ms  ratio  ATen calls  read MiB  floor ms  MiB a slot",
    ]
    for row in report.figures:
        stock = "-" if row.stock_ms is None else f"{row.stock_ms:.1f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            f"{row.slots:>6} {row.streams:>8} {row.ours_ms:>8.1f} {stock:>9} {ratio:>6} "
            f"{row.aten_calls:>11} {row.read_mib:>9.1f} {row.floor_ms:>9.1f} {row.slot_mib:>11.2f}"
        )
    return "\n".join(lines)
