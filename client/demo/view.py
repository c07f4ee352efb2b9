"""What the demo shows: a live table on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from client.command.terminal import can_redraw
from client.recordings import Recording
from client.scoring import word_error_rate

GRPC = "gRPC"
WEBSOCKET = "WebSocket"
PROTOCOLS = (GRPC, WEBSOCKET)


@dataclass
class Heard:
    """What came of one recording over one protocol."""

    tokens: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Text, and seconds behind the moment at which the word began in the audio."""
    transcript: str = ""


@dataclass
class Comparison:
    """What came of one recording over both protocols."""

    recording: Recording
    by_protocol: dict[str, Heard]

    @property
    def agree(self) -> bool:
        """Whether both protocols gave the same transcript."""
        return len({heard.transcript for heard in self.by_protocol.values()}) == 1

    def error_rate(self, protocol: str) -> float:
        """Word error rate of one protocol."""
        return word_error_rate(self.recording.text, self.by_protocol[protocol].transcript)


class DemoView(Protocol):
    """Where the demo shows what happens."""

    def say(self, text: str) -> None: ...
    def begin(self, comparison: Comparison, title: str) -> None: ...
    def show_token(self, protocol: str, text: str, at_s: float, behind_s: float) -> None: ...
    def end(self, comparison: Comparison) -> None: ...


def make_view(console: Console, plain: bool) -> DemoView:
    """The view that fits the console."""
    return PlainView(console) if plain or not can_redraw(console) else LiveView(console)


class PlainView:
    """One line per token."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def begin(self, comparison: Comparison, title: str) -> None:
        self.say(f"\n{title}")

    def show_token(self, protocol: str, text: str, at_s: float, behind_s: float) -> None:
        self.say(f"  {at_s:6.2f} s  {protocol:<9}  {text:<10}  {behind_s:.2f} s behind")

    def end(self, comparison: Comparison) -> None:
        self.say(f"  expected   {comparison.recording.text}")
        for protocol, heard in comparison.by_protocol.items():
            rate = comparison.error_rate(protocol)
            self.say(f"  {protocol:<9} {heard.transcript}  (word error rate {rate:.1%})")


class LiveView:
    """A table that grows while the words are spoken."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._comparison: Comparison | None = None
        self._title = ""

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def begin(self, comparison: Comparison, title: str) -> None:
        self._comparison, self._title = comparison, title
        self._live = Live(self._draw(), console=self._console, refresh_per_second=12)
        self._live.start()

    def show_token(self, protocol: str, text: str, at_s: float, behind_s: float) -> None:
        if self._live is not None:
            self._live.update(self._draw())

    def end(self, comparison: Comparison) -> None:
        if self._live is not None:
            self._live.update(self._draw(finished=True))
            self._live.stop()

    def _draw(self, finished: bool = False) -> Table:
        assert self._comparison is not None
        table = Table(title=self._title, title_justify="left", expand=True)
        table.add_column("", style="bold", width=9)
        table.add_column("text, each word with the seconds it came after it began", ratio=1)
        table.add_column("errors", justify="right", width=7)
        for protocol, heard in self._comparison.by_protocol.items():
            rate = f"{self._comparison.error_rate(protocol):.1%}" if finished else ""
            table.add_row(protocol, _with_latencies(heard.tokens), rate)
        table.add_row("expected", escape(self._comparison.recording.text), "")
        return table


def _with_latencies(tokens: Sequence[tuple[str, float]]) -> str:
    shown = (f"{escape(text)}[dim] {behind_s:.2f}[/dim]" for text, behind_s in tokens)
    return "".join(shown).lstrip()
