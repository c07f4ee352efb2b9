"""Command line options that several commands share."""

from __future__ import annotations

import argparse


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """--url and --grpc."""
    address = parser.add_mutually_exclusive_group()
    address.add_argument(
        "--url",
        metavar="URL",
        help="WebSocket address, like ws://127.0.0.1:8000 or wss://…modal.run "
        "(default: the workspace named by MODAL_WORKSPACE, else a local server)",
    )
    address.add_argument(
        "--grpc", metavar="ADDRESS", help="gRPC address, like 127.0.0.1:50051 or https://…"
    )


def positive_int(text: str) -> int:
    """An argument that counts something."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def positive_float(text: str) -> float:
    """An argument that measures something."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
