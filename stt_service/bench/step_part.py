"""The part `step` of the benchmark: its options, and what it measures."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from stt_service.bench.parts import Measured
from stt_service.config import DIGITS_CHECKPOINT, WEIGHTS
from stt_service.deploy.bench import parse_batch_sizes
from stt_service.process.environment import InvalidSetting

OFFICIAL_SHAPES = ("1b", "2.6b")


def add_step_part(parts: Any) -> None:
    """Add `poe bench step`."""
    step = parts.add_parser("step", help="one step of the model beside stock moshi's, by batch")
    step.add_argument(
        "--checkpoint",
        default="digits",
        help="digits, 1b or 2.6b (of random weights, written for the run), or a directory",
    )
    step.add_argument("--batch-sizes", default="1,8,64", metavar="N,N,…")
    step.add_argument("--steps", type=int, default=30, help="timed, per batch size")
    step.add_argument("--threads", type=int, default=1)
    step.add_argument("--weights", choices=WEIGHTS, default="auto", help="ours")
    step.add_argument(
        "--stock", choices=("float32", "bfloat16", "none"), default="float32", help="stock moshi's"
    )
    step.add_argument("--plot", type=Path, metavar="FILE", help="draw them, as PNG or SVG")
    step.set_defaults(measure=measure_step)


def measure_step(arguments: argparse.Namespace) -> Measured:
    """The figures, and their table. Raises InvalidSetting."""
    batch_sizes = parse_batch_sizes(arguments.batch_sizes)
    if arguments.steps < 1 or arguments.threads < 1:
        raise InvalidSetting("--steps and --threads must be 1 or more")
    # Imported here: torch takes seconds.
    from stt_service.bench import step

    name: str = arguments.checkpoint
    written = name in OFFICIAL_SHAPES
    with tempfile.TemporaryDirectory() if written else nullcontext(name) as directory:
        source = str(DIGITS_CHECKPOINT) if name == "digits" else directory
        if written:
            from stt_service.bench.shapes import write_checkpoint

            write_checkpoint(name, Path(directory))
        report = step.measure(
            source,
            name,
            batch_sizes,
            arguments.steps,
            arguments.threads,
            arguments.weights,
            None if arguments.stock == "none" else arguments.stock,
        )
    if arguments.plot:
        from stt_service.bench.plot import draw_steps

        draw_steps(report, arguments.plot)
    return report, step.format_table(report)
