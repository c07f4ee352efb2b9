"""The command line of stt-transcribe."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from client.command.arguments import add_target_arguments
from client.command.exit_codes import EXPLANATION
from client.transcribe.formats import SUFFIXES, format_of
from stt_service.process.arguments import Parser

DESCRIPTION = "Transcribe what the microphone hears until Ctrl-C, or the recordings named."
EPILOG = f"""\
environment: MODAL_WORKSPACE names the workspace whose service is used; MODAL_KEY and MODAL_SECRET
are its proxy auth token.
{EXPLANATION}"""

_SEPARATORS = (os.sep, os.altsep or os.sep)
_NAMES_OF_STANDARD_OUTPUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exits if options contradict each other.

    `format` is what was asked for or what the name of `output` says; `output` is None for
    standard output, and `is_folder` says whether it is, or is to become, a folder.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    try:
        _settle_output(arguments)
    except ValueError as error:
        parser.error(str(error))
    if problem := _find_contradiction(arguments):
        parser.error(problem)
    return arguments


def make_parser() -> Parser:
    """The options."""
    parser = Parser("stt-transcribe", DESCRIPTION, EPILOG)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="recordings (WAV, FLAC, MP3, OGG, Opus, M4A, WebM, …); `-` or a pipe is transcribed "
        "while it is written",
    )
    add_target_arguments(parser)
    parser.add_argument("--list-devices", action="store_true", help="list microphones and leave")
    parser.add_argument(
        "--device", metavar="N|NAME", help="microphone: its number, or part of its name"
    )
    parser.add_argument(
        "--format",
        choices=tuple(SUFFIXES),
        help="what is written (default: what the name of --output says, else text)",
    )
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="file to write, or a folder: there each transcript is named after its recording; "
        "one that ends with a slash is made",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines on a terminal too")
    return parser


def _settle_output(arguments: argparse.Namespace) -> None:
    output: str | None = arguments.output
    if output == "":
        raise ValueError("--output needs a name")
    implied, arguments.is_folder = None, False
    if output is None or output in _NAMES_OF_STANDARD_OUTPUT:
        arguments.output = None
    else:
        arguments.output = Path(output)
        # A slash at the end says that it is a folder, which then is made.
        arguments.is_folder = output.endswith(_SEPARATORS) or os.path.isdir(output)
        implied = None if arguments.is_folder else format_of(arguments.output)
    if implied and arguments.format not in (None, implied):
        raise ValueError(
            f"--format {arguments.format} contradicts the name of --output {output}; leave one out"
        )
    arguments.format = arguments.format or implied or "text"


def _find_contradiction(arguments: argparse.Namespace) -> str | None:
    files: list[str] = arguments.files
    output: Path | None = arguments.output
    if files and (arguments.device or arguments.list_devices):
        return "--device and --list-devices are for the microphone; recordings were named too"
    if "" in files:
        return "a recording's name is empty"
    is_folder: bool = arguments.is_folder
    if len(files) > 1 and output is not None and not is_folder:
        if not os.path.lexists(output):
            return f"--output {output}: write {output}{os.sep} for a folder of {len(files)} files"
        return f"--output must be a folder for {len(files)} recordings; {output} is none"
    if len(files) > 1 and output is None and arguments.format in ("srt", "vtt"):
        return f"--format {arguments.format} of {len(files)} recordings needs --output FOLDER"
    if not files and is_folder:
        return f"--output must be a file for a microphone; {output} is a folder"
    if output is not None and not is_folder and not os.path.isdir(output.absolute().parent):
        return f"--output {output}: there is no folder {output.parent}"
    return None
