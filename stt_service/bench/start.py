"""How long it takes from nothing to a server that is ready, and what of it is what."""

import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from stt_service.bench.processes import serve
from stt_service.config import EngineConfig
from stt_service.deploy.bench import measure_batch

# In this order: what an earlier one imports costs a later one nothing.
IMPORTS = ("stt_service.server", "torch", "moshi.models")
_TIME_IMPORTS = """
import importlib, sys, time
for name in sys.argv[1:]:
    started = time.perf_counter()
    importlib.import_module(name)
    print(time.perf_counter() - started)
"""


@dataclass(frozen=True)
class StartReport:
    """Medians, in seconds. Files are in the system's cache from the second run on."""

    model: str
    slots: int
    runs: int
    imports_s: dict[str, float]
    load_s: float
    """The checkpoint, from the disk."""
    warm_up_s: float
    ready_s: float
    """From the start of the process to its `ready` line, gateway included."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure(model: str, slots: int, runs: int, threads: int) -> StartReport:
    """Start again and again."""
    imports = [_time_imports() for _ in range(runs)]
    engine = EngineConfig(model, slots, device="cpu", threads=threads)
    loads = [measure_batch(engine, slots, steps=2) for _ in range(runs)]
    return StartReport(
        model=model,
        slots=slots,
        runs=runs,
        imports_s={name: statistics.median(run[name] for run in imports) for name in IMPORTS},
        load_s=statistics.median(each.load_s for each in loads),
        warm_up_s=statistics.median(each.warm_up_s for each in loads),
        ready_s=statistics.median(_time_ready_s(model, slots, threads) for _ in range(runs)),
    )


def _time_imports() -> dict[str, float]:
    command = [sys.executable, "-c", _TIME_IMPORTS, *IMPORTS]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(zip(IMPORTS, map(float, said.split()), strict=True))


def _time_ready_s(model: str, slots: int, threads: int) -> float:
    started = time.perf_counter()
    with serve(model, slots, 0.0, threads):
        return time.perf_counter() - started


def format_table(report: StartReport) -> str:
    """The figures for a person."""
    rows = {f"import {name}": taken for name, taken in report.imports_s.items()}
    rows |= {"load": report.load_s, "warm-up": report.warm_up_s, "stt-serve ready": report.ready_s}
    title = f"{report.model}, {report.slots} slots, median of {report.runs}, in seconds"
    return "\n".join([title, *(f"{name:<26} {taken:>6.2f}" for name, taken in rows.items())])
