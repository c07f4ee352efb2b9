"""The command line of stt-demo."""

from __future__ import annotations

from client.command.arguments import MAX_STREAMS
from stt_service.process.arguments import Parser, whole_number

DESCRIPTION = """\
Start the service on free local ports with the embedded digits model, stream recordings of spoken
digits to it at real time over gRPC and over WebSocket side by side, and show the words as
they come.
"""
EPILOG = """\
exit codes: 0 if both protocols gave the same transcripts, 1 if not or if the server failed, 2 for
wrong usage, 130 if interrupted.
"""


def make_parser() -> Parser:
    """The options."""
    parser = Parser("stt-demo", DESCRIPTION, EPILOG)
    parser.add_argument("--all", action="store_true", help="play all nine recordings")
    parser.add_argument(
        "--sessions",
        type=whole_number(MAX_STREAMS),
        metavar="N",
        help="instead, run N real-time gRPC sessions at once and print how fast events arrive",
    )
    parser.add_argument("--plain", action="store_true", help="print plain lines on a terminal too")
    return parser
