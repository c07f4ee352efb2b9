"""How long a model's step takes, by batch size, and how many live streams that serves.

Here: `python -m stt_service.deploy.bench --device cpu --batch-sizes 1,8,32`. On a GPU of Modal's:
`uvx modal run stt_service/modal_app.py::bench`. The steps are those that the server makes, through
the same class. `uv run poe bench step` compares them with stock moshi's.
"""

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from stt_service.config import MAX_SLOTS, EngineConfig
from stt_service.process.environment import InvalidSetting

if TYPE_CHECKING:
    from stt_service.engine.model import StepPlan
    from stt_service.engine.step.moshi_model import MoshiModel

DEFAULT_BATCH_SIZES = "1,8,32,64,128"
DEFAULT_STEPS = 200
EXIT_OK = 0
EXIT_USAGE = 2

# As loud as a quiet room: silence could take a shorter way through some kernel.
NOISE_AMPLITUDE = 0.01


@dataclass(frozen=True)
class Measurement:
    """One batch size. Steps are timed with every slot active, from audio to text ids."""

    batch_size: int
    load_s: float
    warm_up_s: float
    step_p50_ms: float
    step_p99_ms: float
    frame_ms: float
    """Audio in a step: a live stream needs one step in this time."""
    memory_gib: float | None
    """Largest GPU memory held; None on a CPU."""

    @property
    def keeps_up(self) -> bool:
        """Whether 99 of 100 steps end before the next frame is there."""
        return self.step_p99_ms < self.frame_ms


@dataclass(frozen=True)
class Report:
    """What was measured, on what."""

    model: str
    device: str
    torch: str
    measurements: tuple[Measurement, ...]
    out_of_memory: tuple[int, ...]
    """Batch sizes that the GPU's memory did not hold."""

    @property
    def live_streams(self) -> int:
        """The largest batch size measured that keeps up; 0 if none does."""
        return max((m.batch_size for m in self.measurements if m.keeps_up), default=0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "live_streams": self.live_streams}


def measure(engine: EngineConfig, batch_sizes: Sequence[int], steps: int = DEFAULT_STEPS) -> Report:
    """Load the model once for each batch size and time its steps."""
    import torch

    measurements: list[Measurement] = []
    out_of_memory: list[int] = []
    for batch_size in batch_sizes:
        try:
            measurements.append(measure_batch(engine, batch_size, steps))
        except torch.OutOfMemoryError:
            out_of_memory.append(batch_size)
        _free_memory()
    return Report(
        model=engine.model,
        device=_describe_device(engine.device),
        torch=torch.__version__,
        measurements=tuple(measurements),
        out_of_memory=tuple(out_of_memory),
    )


def measure_batch(engine: EngineConfig, batch_size: int, steps: int) -> Measurement:
    """Load, warm up and time one batch size. Raises torch.OutOfMemoryError."""
    from stt_service.engine.step.moshi_model import MoshiModel

    started = time.perf_counter()
    model = MoshiModel(engine.source, batch_size, engine.device, engine.cpu_threads)
    loaded = time.perf_counter()
    model.warm_up()
    warm = time.perf_counter()
    times_ms = time_steps_ms(model, steps)
    percentiles = statistics.quantiles(times_ms, n=100, method="inclusive")
    return Measurement(
        batch_size=batch_size,
        load_s=loaded - started,
        warm_up_s=warm - loaded,
        step_p50_ms=percentiles[49],
        step_p99_ms=percentiles[98],
        frame_ms=model.info.frame_s * 1000,
        memory_gib=_largest_memory_gib(),
    )


def time_steps_ms(model: "MoshiModel", steps: int) -> list[float]:
    """Durations of steps in which every slot has a frame. The text ids are on the host after each,
    so that no work of a GPU is left out."""
    return [
        time_ms(lambda plan=plan: model.step(plan))
        for plan in islice(make_plans(model, model.slots), steps)
    ]


def make_plans(model: "MoshiModel", streams: int) -> Iterator["StepPlan"]:
    """Steps of noise, without an end, in which the lowest slots have a frame."""
    import numpy as np

    from stt_service.engine.model import StepPlan

    noise = np.random.default_rng(seed=1)
    active = np.arange(model.slots) < streams
    shape = (model.slots, 1, model.info.frame_samples)
    while True:
        pcm = noise.normal(scale=NOISE_AMPLITUDE, size=shape).astype(np.float32)
        yield StepPlan(pcm, active, reset=np.zeros_like(active))


def time_ms(function: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def measure_elsewhere(
    measure_there: Callable[[tuple[int, ...]], Mapping[str, Any]], batch_sizes: str, gpu: str
) -> None:
    """Print what `measure` reports where there is such a GPU.

    Leaves the program with one sentence if the sizes are wrong. `measure_there` returns
    `Report.as_dict()`.
    """
    try:
        sizes = parse_batch_sizes(batch_sizes)
    except InvalidSetting as error:
        sys.exit(f"bench: {error}")
    print_report(measure_there(sizes), gpu=gpu)


def print_report(report: Mapping[str, Any], gpu: str = "") -> None:
    """Print `Report.as_dict()` as a table, then as one line of JSON.

    `gpu` is the kind that was asked for.
    """
    report = {**report, "gpu": gpu} if gpu else report
    print(format_table(report))
    print(json.dumps(report), flush=True)


def format_table(report: Mapping[str, Any]) -> str:
    """The figures for a person."""
    lines = [
        f"{report['model']} on {report['device']}, torch {report['torch']}",
        " batch   p50 ms   p99 ms  live  load s  warm s    GiB",
    ]
    for row in report["measurements"]:
        keeps_up = "yes" if row["step_p99_ms"] < row["frame_ms"] else "no"
        memory = "-" if row["memory_gib"] is None else f"{row['memory_gib']:.1f}"
        lines.append(
            f"{row['batch_size']:>6} {row['step_p50_ms']:>8.1f} {row['step_p99_ms']:>8.1f} "
            f"{keeps_up:>5} {row['load_s']:>7.1f} {row['warm_up_s']:>7.1f} {memory:>6}"
        )
    lines += [f"{size:>6} does not fit in memory" for size in report["out_of_memory"]]
    lines.append(
        f"live streams: {report['live_streams']} (the largest batch measured that keeps up)"
    )
    return "\n".join(lines)


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """Read `1,8,32`. Raises InvalidSetting."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= MAX_SLOTS for part in parts):
        raise InvalidSetting(
            f"batch sizes are {text!r}; write numbers from 1 to {MAX_SLOTS}, as in 1,8,32"
        )
    return tuple(int(part) for part in parts)


def _describe_device(device: str) -> str:
    import torch

    from stt_service.engine.step.device import choose_device

    chosen = choose_device(device)
    if chosen.type == "cuda":
        return torch.cuda.get_device_name(chosen)
    return f"CPU, {torch.get_num_threads()} threads"


def _largest_memory_gib() -> float | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.max_memory_allocated() / 2**30


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure on this machine; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m stt_service.deploy.bench", description=__doc__)
    parser.add_argument("--model", help="as in stt-serve --model (default: MODEL_NAME, or digits)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores but one)")
    parser.add_argument("--batch-sizes", default=DEFAULT_BATCH_SIZES, metavar="N,N,…")
    parser.add_argument("--steps", type=int, default=DEFAULT_STEPS, help="timed, per batch size")
    arguments = parser.parse_args(argv)
    try:
        model = arguments.model or EngineConfig.from_environment().model
        engine = EngineConfig(model, device=arguments.device, threads=arguments.threads)
        batch_sizes = parse_batch_sizes(arguments.batch_sizes)
        if arguments.steps < 2:
            raise InvalidSetting(f"--steps is {arguments.steps}; two steps are the fewest to time")
    except InvalidSetting as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    print_report(measure(engine, batch_sizes, arguments.steps).as_dict())
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
