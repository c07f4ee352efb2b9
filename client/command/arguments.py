"""Command line options that several commands share."""

from __future__ import annotations

import argparse

MAX_STREAMS = 10_000
"""More streams at once than one process can run."""


def add_target_arguments(parser: argparse.ArgumentParser) -> None:
    """--url and --grpc."""
    address = parser.add_mutually_exclusive_group()
    address.add_argument(
        "--url",
        metavar="URL",
        type=_address,
        help="WebSocket address, like ws://127.0.0.1:8000 or wss://…modal.run "
        "(default: the workspace named by MODAL_WORKSPACE, else a local server)",
    )
    address.add_argument(
        "--grpc",
        metavar="ADDRESS",
        type=_address,
        help="gRPC address, like 127.0.0.1:50051 or https://…",
    )


def _address(text: str) -> str:
    # As from "$ADDRESS" with nothing in it: the audio must not go to another service for that.
    if not text.strip():
        raise argparse.ArgumentTypeError("the address is empty")
    return text
