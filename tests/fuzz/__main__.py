"""Fuzz the targets one after the other and print a table; exit code 1 if any of them failed.

`python -m tests.fuzz [--scale X] [TARGET ...]`. An input that fails is kept in --findings;
`python -m tests.fuzz.run TARGET FILE` repeats it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.targets import TARGETS, seeds

# A million in all; Opus is decoded at some hundreds a second.
RUNS = {
    "query": 150_000,
    "command": 150_000,
    "request": 150_000,
    "pcm": 80_000,
    "opus": 70_000,
    "moshi": 130_000,
    "gradium": 130_000,
    "openai": 140_000,
}
MAX_BYTES = {
    "query": 400,
    "command": 5_000,
    "request": 400,
    "pcm": 10_000,
    "opus": 10_000,
    "moshi": 1_000,
    "gradium": 1_000,
    "openai": 1_000,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="poe fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--scale", type=float, default=1.0, help="times as many inputs")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), metavar="FOLDER")
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
    arguments.findings.mkdir(parents=True, exist_ok=True)
    print(f"{'target':10} {'inputs':>9} {'edges':>6} {'seconds':>8}  result", flush=True)
    codes = [
        fuzz(name, round(RUNS[name] * arguments.scale), arguments.findings)
        for name in arguments.targets or TARGETS
    ]
    return int(any(codes))


def fuzz(name: str, runs: int, findings: Path) -> int:
    """Run one target in a process of its own, which ends at its first finding."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(name)):
            (Path(corpus) / str(number)).write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz.run", name, corpus]
        command += [f"-runs={runs}", f"-max_len={MAX_BYTES[name]}", "-print_final_stats=1"]
        command += [f"-artifact_prefix={findings}/{name}-", "-timeout=20", "-rss_limit_mb=2048"]
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.stdout.decode(errors="replace")
    inputs = last_number(r"stat::number_of_executed_units:\s*(\d+)", output)
    edges = last_number(r"cov: (\d+)", output)
    result = "ok" if process.returncode == 0 else "FAILED"
    seconds = time.monotonic() - started
    print(f"{name:10} {inputs:9,} {edges:6,} {seconds:8.0f}  {result}", flush=True)
    if process.returncode:
        print(output[-4_000:])
    return process.returncode


def last_number(pattern: str, text: str) -> int:
    return int(([*re.findall(pattern, text), "0"])[-2 if re.search(pattern, text) else -1])


if __name__ == "__main__":
    sys.exit(main())
