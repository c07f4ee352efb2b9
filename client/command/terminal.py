"""What a terminal can show."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def can_redraw(console: Console) -> bool:
    """Whether lines can be drawn over: not in a file or pipe, nor with TERM=dumb, as within Emacs.

    rich then draws nothing until the end.
    """
    return console.is_terminal and not console.is_dumb_terminal
