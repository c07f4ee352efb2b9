"""How the project's programs read a command line, each in a process of its own.

Run as a program, `python -m tests.unit.docs.reading MODULE:FUNCTION ARGUMENTS…`, it starts the
program at that place and ends it once it has read its command line.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from tests.pages import ROOT

UNDERSTOOD = 77

_parse_args = argparse.ArgumentParser.parse_args


@cache
def read_command_line(entry: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """How the program at `MODULE:FUNCTION` ends: with UNDERSTOOD, or with its complaint.

    Its options are on standard output.
    """
    return subprocess.run(
        [sys.executable, "-m", __name__, entry, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def parse_args(self: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> None:
    """In place of argparse's own: print the options, read, and go."""
    print(*(name for action in self._actions for name in action.option_strings), flush=True)
    self.allow_abbrev = False
    _parse_args(self, args, namespace)
    os._exit(UNDERSTOOD)


def main(command_line: Sequence[str]) -> None:
    entry, *arguments = command_line
    module, _, function = entry.partition(":")
    sys.argv = [entry, *arguments]
    argparse.ArgumentParser.parse_args = parse_args
    getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    main(sys.argv[1:])
