"""The command line of stt-latency."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from client.command.arguments import MAX_STREAMS, add_target_arguments
from client.command.exit_codes import EXPLANATION
from stt_service.process.arguments import Parser, number_up_to, whole_number

DEFAULT_STREAMS = 1
MAX_RUNS = 10_000
MAX_PACE = 100.0

DESCRIPTION = """\
Stream recordings at real time, many at once, and report how long connecting, the first token, every
token behind its own audio, a flush and the end take.
"""
EPILOG = f"""\
environment: MODAL_WORKSPACE, MODAL_KEY and MODAL_SECRET as for stt-transcribe.
{EXPLANATION}"""

_read_streams = whole_number(MAX_STREAMS)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; exits if options contradict each other."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.compare_gpus and (arguments.sweep or arguments.url or arguments.grpc):
        parser.error("--compare-gpus deploys its own targets; leave out --sweep, --url and --grpc")
    if (arguments.gpu_url or arguments.no_deploy) and not arguments.compare_gpus:
        parser.error("--gpu-url and --no-deploy belong to --compare-gpus")
    return arguments


def make_parser() -> Parser:
    """The options."""
    parser = Parser("stt-latency", DESCRIPTION, EPILOG)
    add_target_arguments(parser)
    add_load_arguments(parser)
    add_gpu_arguments(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw the distribution of token lags there"
    )
    return parser


def add_load_arguments(parser: argparse.ArgumentParser) -> None:
    """What is streamed, how often, how many at once."""
    parser.add_argument(
        "-p",
        "--parallel",
        type=_read_streams,
        default=DEFAULT_STREAMS,
        metavar="N",
        help=f"streams at once (default: {DEFAULT_STREAMS})",
    )
    parser.add_argument(
        "-n",
        "--runs",
        type=whole_number(MAX_RUNS),
        default=1,
        metavar="N",
        help="repeat (default: 1)",
    )
    parser.add_argument(
        "--sweep",
        type=_stream_counts,
        metavar="1,2,4,8,…",
        help="measure each number of streams until the service no longer keeps up",
    )
    parser.add_argument(
        "--wav", type=Path, metavar="FILE", help="recording (default: the demo's digits)"
    )
    parser.add_argument(
        "--rtf",
        type=number_up_to(MAX_PACE),
        default=1.0,
        metavar="X",
        help="pace of the audio: 1 is real time, 2 twice as fast (default: 1)",
    )


def add_gpu_arguments(parser: argparse.ArgumentParser) -> None:
    """Comparing GPUs on Modal."""
    parser.add_argument(
        "--compare-gpus",
        type=_gpu_names,
        metavar='"T4,L4,…"',
        help="deploy one app for each GPU (kyutai-stt-t4 …), warm it, measure it with -p streams, "
        "print the comparison and how to stop the apps",
    )
    parser.add_argument(
        "--gpu-url",
        action="append",
        default=[],
        type=_gpu_url,
        metavar="GPU=URL",
        help="measure this GPU at this WebSocket address instead of the one that Modal names",
    )
    parser.add_argument(
        "--no-deploy", action="store_true", help="the apps of --compare-gpus are deployed already"
    )


def _stream_counts(text: str) -> list[int]:
    return sorted({_read_streams(part.strip()) for part in text.split(",")})


def _gpu_names(text: str) -> list[str]:
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise argparse.ArgumentTypeError("name at least one GPU, like T4,L4")
    return names


def _gpu_url(text: str) -> tuple[str, str]:
    gpu, equals, url = text.partition("=")
    if not equals or not gpu or not url:
        raise argparse.ArgumentTypeError(f"{text!r} is not like L4=wss://host")
    return gpu, url
