"""`uv run poe bench`: what the service costs."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from stt_service.bench.parts import add_parts
from stt_service.bench.step_part import add_step_part
from stt_service.process.environment import InvalidSetting

EXIT_OK = 0
EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Measure on this machine; the exit status."""
    parser = argparse.ArgumentParser(prog="poe bench", description=__doc__)
    parts = parser.add_subparsers(dest="part", required=True)
    add_step_part(parts)
    add_parts(parts)
    for part in parts.choices.values():
        part.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args(argv)
    try:
        report, table = arguments.measure(arguments)
    except InvalidSetting as error:
        print(f"bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    print(table)
    line = json.dumps(report.as_dict())
    print(line, flush=True)
    if arguments.json:
        arguments.json.write_text(line + "\n")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
