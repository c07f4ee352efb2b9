"""`uv run poe bench step`: our step beside stock moshi's."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from stt_service.config import DIGITS_CHECKPOINT, WEIGHTS
from stt_service.deploy.bench import parse_batch_sizes
from stt_service.process.environment import InvalidSetting

EXIT_OK = 0
EXIT_USAGE = 2
OFFICIAL_SHAPES = ("1b", "2.6b")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure on this machine; the exit status."""
    parser = argparse.ArgumentParser(prog="poe bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    step = parts.add_parser("step", help="one step of the model, by batch size")
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
    step.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    step.add_argument("--plot", type=Path, metavar="FILE", help="draw them, as PNG or SVG")
    arguments = parser.parse_args(argv)
    try:
        measure_step(arguments)
    except InvalidSetting as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_OK


def measure_step(arguments: argparse.Namespace) -> None:
    """Raises InvalidSetting."""
    batch_sizes = parse_batch_sizes(arguments.batch_sizes)
    if arguments.steps < 1 or arguments.threads < 1:
        raise InvalidSetting("--steps and --threads must be 1 or more")
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
    print(step.format_table(report))
    line = json.dumps(report.as_dict())
    print(line, flush=True)
    if arguments.json:
        arguments.json.write_text(line + "\n")
    if arguments.plot:
        from stt_service.bench.plot import draw_steps

        draw_steps(report, arguments.plot)


if __name__ == "__main__":
    sys.exit(main())
