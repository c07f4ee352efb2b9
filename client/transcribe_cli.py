"""stt-transcribe: what a microphone hears, or what recordings say, as text."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from client.command.arguments import add_target_arguments
from client.command.exit_codes import EXPLANATION, INTERRUPTED
from client.transcribe.documents import FORMATS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if problem := _find_contradiction(arguments):
        parser.error(problem)
    # Audio, network and display libraries take a while to load; --help needs none of them.
    from client.transcribe.run import run

    try:
        return asyncio.run(run(arguments))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="stt-transcribe",
        description="Transcribe what the microphone hears until Ctrl-C, or the recordings named.",
        epilog="Environment: MODAL_WORKSPACE names the workspace whose service is used; MODAL_KEY "
        f"and MODAL_SECRET are its proxy auth token. {EXPLANATION}",
    )
    parser.add_argument(
        "files", nargs="*", type=Path, metavar="FILE", help="recordings: WAV, FLAC, MP3, OGG/Opus"
    )
    add_target_arguments(parser)
    parser.add_argument("--list-devices", action="store_true", help="list microphones and leave")
    parser.add_argument(
        "--device", metavar="N|NAME", help="microphone: its number, or part of its name"
    )
    parser.add_argument(
        "--format", choices=FORMATS, default="text", help="what is written (default: text)"
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="file to write, or a folder for many"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines on a terminal too")
    return parser


def _find_contradiction(arguments: argparse.Namespace) -> str | None:
    files: list[Path] = arguments.files
    output: Path | None = arguments.output
    if files and (arguments.device or arguments.list_devices):
        return "--device and --list-devices are for the microphone; recordings were named too"
    if len(files) > 1 and output is not None and not output.is_dir():
        return f"--output must be a folder for {len(files)} recordings; {output} is none"
    if len(files) > 1 and output is None and arguments.format in ("srt", "vtt"):
        return f"--format {arguments.format} of {len(files)} recordings needs --output FOLDER"
    if len(files) < 2 and output is not None and output.is_dir() and not files:
        return f"--output must be a file for a microphone; {output} is a folder"
    if output is not None and not output.absolute().parent.is_dir():
        return f"--output {output}: there is no folder {output.parent}"
    return None


if __name__ == "__main__":
    sys.exit(main())
