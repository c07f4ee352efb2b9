"""Live audio: a microphone, or a pipe that another program writes into."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from client.audio import FileSource
from client.command.environment import Environment
from client.command.exit_codes import INTERRUPTED, OK, exit_code_for
from client.command.target import Target, find_target
from client.microphone import MicrophoneSource
from client.rpc.events import Event, Pause, Ping, Ready, Reconnected, Token, Word
from client.rpc.retry import Waiting
from client.stream import SessionOptions
from client.transcribe.listening import Heard, listen, stopping_on_signals
from client.transcribe.messages import tell, tell_if_wordless
from client.transcribe.outputs import write_output, write_stdout
from client.transcribe.view import NEW_LINE_GAP_S, TranscriptView, make_view

LiveSource = MicrophoneSource | FileSource
# A microphone always delivers audio. A pipe may pause, and the session must survive that: this is
# the longest timeout that the service accepts.
PIPE_IDLE_TIMEOUT_S = 600.0
# Programs write compressed audio in pieces of a second or two. If words were flushed in the gaps,
# a word that spans two pieces would be cut in two.
PIPE_STALL_TIMEOUT_S = 3.0
# A microphone and a file never pause. If their audio does not arrive, the network has stalled, and
# a flush would cut the word in two that is being spoken.
STEADY_STALL_TIMEOUT_S = 600.0


async def transcribe_live(
    arguments: argparse.Namespace, source: LiveSource, output: Path | None
) -> int:
    """Show and write what is heard until the source ends; returns the exit code."""
    text_to_stdout = arguments.format == "text" and output is None
    is_pipe = isinstance(source, FileSource)
    with stopping_on_signals(source):
        # A slot is not occupied before the writer starts.
        if is_pipe and not await source.wait_for_audio():
            return INTERRUPTED
        target = await find_target(arguments, Environment.read())
        view = make_view(
            lambda: source.level_dbfs, arguments.plain, text_to_stdout, _is_watched(source)
        )
        try:
            heard = await _follow(target, source, view)
        finally:
            view.close()
    document = heard.unfinished_document(_document_name(source))
    if document is not None and not text_to_stdout:
        _write(document.render(arguments.format), output)
    if heard.failure is not None:
        tell(heard.failure)
        return exit_code_for(heard.failure)
    if document is None:
        return INTERRUPTED
    if isinstance(source, FileSource):
        tell_if_wordless(source, document.final)
    return OK


async def _follow(target: Target, source: LiveSource, view: TranscriptView) -> Heard:
    """Show what is heard until the source ends."""
    if _is_watched(source):
        view.show_state(f"connecting to {target}")

    def show_waiting(waiting: Waiting) -> None:
        view.show_state(f"waiting: {waiting.reason}")

    options = options_for(source)
    show = _Shower(source, view)
    async with target.make_client(on_wait=show_waiting) as client:
        return await listen(client.stream(source, options), show)


def options_for(source: LiveSource) -> SessionOptions:
    """A pipe may come in pieces and rest between them; a microphone and a file do not."""
    if isinstance(source, FileSource) and source.is_live:
        return SessionOptions(
            pings=True,
            idle_timeout_s=PIPE_IDLE_TIMEOUT_S,
            stall_timeout_s=PIPE_STALL_TIMEOUT_S,
        )
    return SessionOptions(pings=True, stall_timeout_s=STEADY_STALL_TIMEOUT_S)


def _is_watched(source: LiveSource) -> bool:
    """Whether to show the state of the connection: not to a script."""
    return isinstance(source, MicrophoneSource) or Console(stderr=True).is_terminal


class _Shower:
    """Events → the view."""

    def __init__(self, source: LiveSource, view: TranscriptView) -> None:
        self._source = source
        self._view = view
        self._last_end_s: float | None = None
        self._is_admitted = False

    def __call__(self, event: Event) -> None:
        match event:
            case Ping() if not self._is_admitted:
                # The gateway waits for a container and says so.
                self._view.show_state("the service is starting; what you say is kept")
            case Ready():
                self._is_admitted = True
                if _is_watched(self._source):
                    self._view.show_state(f"listening to {_name(self._source)}")
            case Reconnected():
                self._view.show_state("connected again")
            case Token(text, start_s):
                if self._last_end_s is not None and start_s - self._last_end_s > NEW_LINE_GAP_S:
                    self._view.end_line()
                self._view.add_text(text, self._behind_s(start_s))
            case Word(end_s=end_s):
                self._last_end_s = end_s
            case Pause():
                self._view.end_line()
            case _:
                pass

    def _behind_s(self, start_s: float) -> float | None:
        if isinstance(self._source, FileSource):
            # It is not known when a pipe's audio was spoken.
            return None
        return time.monotonic() - (self._source.started_at or 0.0) - start_s


def _name(source: LiveSource) -> str:
    return source.name if isinstance(source, FileSource) else source.device.name


def _document_name(source: LiveSource) -> str | None:
    return source.document_name if isinstance(source, FileSource) else None


def _write(text: str, output: Path | None) -> None:
    if output is None:
        write_stdout(text)
    else:
        write_output(output, text)
