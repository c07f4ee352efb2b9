"""Command line options: a wrong one is one sentence that names it, and exit code 2."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import NoReturn

from stt_service import __version__
from stt_service.process.environment import InvalidSetting, parse_count
from stt_service.process.listening import parse_listening_address
from stt_service.process.program import say

EXIT_USAGE = 2

_NUMBER = re.compile(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", re.IGNORECASE)


class Parser(argparse.ArgumentParser):
    """Options by their whole names only: a script with an abbreviation breaks with the next option.

    What is wrong is said in one line, and the usage only by --help.
    """

    def __init__(self, prog: str, description: str, epilog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"%(prog)s {__version__}")

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and leave."""
        say(self.prog, f"{message.rstrip('.')}; see {self.prog} --help")
        self.exit(EXIT_USAGE)


def add_log_format(parser: argparse.ArgumentParser) -> None:
    """--log-format."""
    parser.add_argument(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="log lines for people or for machines (default: %(default)s)",
    )


def listening_address(text: str) -> str:
    """An argument HOST:PORT, checked and unchanged."""
    try:
        parse_listening_address(text)
    except InvalidSetting as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def whole_number(most: int) -> Callable[[str], int]:
    """An argument from 1 to `most`, in plain digits."""

    def read(text: str) -> int:
        count = parse_count(text, most)
        if count is None:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
        return count

    return read


def seconds(text: str) -> float:
    """An argument that is a time: 0 or more."""
    number = _read_number(text)
    if number is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return number


def number_up_to(most: float) -> Callable[[str], float]:
    """An argument above 0 and up to `most`."""

    def read(text: str) -> float:
        number = _read_number(text)
        if number is None or not 0.0 < number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to {most:g}")
        return number

    return read


def _read_number(text: str) -> float | None:
    """A finite number without a sign; `float` also takes nan, inf, 1_0 and digits of others."""
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None
