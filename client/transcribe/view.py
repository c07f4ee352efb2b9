"""What stt-transcribe shows while a microphone is on: a live screen, or plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from client.command.terminal import can_redraw
from client.transcribe.outputs import write_stdout

METER_CELLS = 20
QUIETEST_DBFS = -60.0
# A silence this long starts a new line where the model reports no pauses.
NEW_LINE_GAP_S = 2.0


class TranscriptView(Protocol):
    """Where the running transcript goes."""

    def show_state(self, state: str) -> None:
        """The state of the connection."""
        ...

    def add_text(self, text: str, behind_s: float | None) -> None:
        """One more piece, and how long after the word began it came, if that is known."""
        ...

    def end_line(self) -> None:
        """The speaker paused."""
        ...

    def close(self) -> None:
        """No more text comes; what was shown stays."""
        ...


class PlainView:
    """Text to one stream as it comes, states to the other."""

    def __init__(self, console: Console, states: Console) -> None:
        self._console = console
        self._states = states
        self._line = ""
        self._state = ""

    def show_state(self, state: str) -> None:
        if state != self._state:
            self._states.print(f"[{state}]", markup=False, highlight=False, soft_wrap=True)
        self._state = state

    def add_text(self, text: str, behind_s: float | None) -> None:
        text = text if self._line else text.lstrip()
        self._line += text
        self._write(text)

    def end_line(self) -> None:
        if self._line:
            self._write("\n")
        self._line = ""

    def close(self) -> None:
        self.end_line()

    def _write(self, text: str) -> None:
        if self._console.quiet:
            return
        # Not through the console: Rich itself exits the program on a broken pipe.
        if self._console.file is sys.stdout:
            write_stdout(text)
        else:
            self._console.file.write(text)
            self._console.file.flush()


class LiveView:
    """Finished lines scroll; below them the line that is being spoken and a status line."""

    def __init__(self, console: Console, read_level_dbfs: Callable[[], float]) -> None:
        self._read_level_dbfs = read_level_dbfs
        self._state = ""
        self._line = ""
        self._behind_s: float | None = None
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=10, transient=True
        )
        self._live.start()

    def show_state(self, state: str) -> None:
        self._state = state

    def add_text(self, text: str, behind_s: float | None) -> None:
        self._line += text
        self._behind_s = behind_s
        self._live.refresh()

    def end_line(self) -> None:
        line, self._line = self._line.strip(), ""
        if line:
            # Rich prints above what it drew last, which still holds the line.
            self._live.refresh()
            self._live.console.print(Text(line))

    def close(self) -> None:
        self.end_line()
        self._live.stop()

    def _draw(self) -> Group:
        level_dbfs = self._read_level_dbfs()
        status = Text.assemble(
            (draw_meter(level_dbfs), "green" if level_dbfs < -6.0 else "red"),
            f" {level_dbfs:4.0f} dB  ",
            (self._state, "bold"),
            f"  {self._behind_s:.2f} s behind" if self._behind_s is not None else "",
            ("  Ctrl-C ends", "dim"),
        )
        return Group(Text(self._line.strip() or "…"), status)


def draw_meter(level_dbfs: float) -> str:
    """A bar that is full at full scale and empty at -60 dB."""
    share = (level_dbfs - QUIETEST_DBFS) / -QUIETEST_DBFS
    full = round(min(1.0, max(0.0, share)) * METER_CELLS)
    return "█" * full + "░" * (METER_CELLS - full)


def make_view(
    read_level_dbfs: Callable[[], float], plain: bool, text_to_stdout: bool, is_watched: bool = True
) -> TranscriptView:
    """The live screen where there is a terminal; the text goes to standard output unless a
    document will. Where nobody watches, only what goes to standard output is written."""
    console = Console(file=sys.stdout if text_to_stdout else sys.stderr)
    if plain or not can_redraw(console):
        console.quiet = not (text_to_stdout or is_watched)
        return PlainView(console, Console(stderr=True))
    return LiveView(console, read_level_dbfs)
