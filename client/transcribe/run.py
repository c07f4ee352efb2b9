"""The work of stt-transcribe."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from client.audio import AudioError, FileSource
from client.command.environment import Environment
from client.command.exit_codes import INTERRUPTED, OK, exit_code_for
from client.command.target import Target, find_target
from client.events import Final, Pause, Ping, Ready, Reconnected, Token, Word
from client.microphone import (
    MicrophoneSource,
    choose_device,
    list_input_devices,
    native_noise_hidden,
)
from client.stream import SessionOptions, SttClient, WebSocketSttClient
from client.transcribe.documents import Document, render_all
from client.transcribe.view import NEW_LINE_GAP_S, TranscriptView, make_view
from stt.channel import Waiting
from stt.errors import SttError

Client = SttClient | WebSocketSttClient


async def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code."""
    try:
        if arguments.files:
            return await _transcribe_files(arguments)
        with native_noise_hidden():
            if arguments.list_devices:
                return _print_devices()
            return await _transcribe_microphone(arguments)
    except (SttError, AudioError, OSError, ValueError) as error:
        print(f"stt-transcribe: {error}", file=sys.stderr)
        return exit_code_for(error)


def _print_devices() -> int:
    devices = list_input_devices()
    if not devices:
        raise AudioError("No microphone was found.")
    for device in devices:
        default = "  (default)" if device.is_default else ""
        print(
            f"{device.index:3}  {device.name}, {device.channels} channels, "
            f"{device.sample_rate_hertz:.0f} Hz{default}"
        )
    return OK


async def _transcribe_files(arguments: argparse.Namespace) -> int:
    sources = [FileSource(path) for path in arguments.files]
    target = await find_target(arguments, Environment.read())
    documents: list[Document] = []
    status = Console(stderr=True)
    with _progress(status) as progress:
        told: set[str] = set()

        def show_waiting(waiting: Waiting) -> None:
            reason = str(waiting.reason)
            if reason not in told:
                told.add(reason)
                progress.console.print(f"[{reason}]", markup=False, soft_wrap=True)

        async with target.make_client(on_wait=show_waiting) as client:
            for source in sources:
                documents.append(await _transcribe_file(client, source, progress))
    _write(arguments, documents)
    return OK


async def _transcribe_file(client: Client, source: FileSource, progress: Progress) -> Document:
    task = progress.add_task(source.path.name, total=source.duration_s)
    pauses_s: list[float] = []
    async with client.stream(source) as events:
        async for event in events:
            progress.update(task, completed=event.timing.processed_s)
            match event:
                case Pause(offset_s):
                    pauses_s.append(offset_s)
                case Final():
                    progress.update(task, completed=source.duration_s)
                    return Document(str(source.path), event, tuple(pauses_s))
                case _:
                    pass
    raise AssertionError("a stream ends with Final or an error")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


async def _transcribe_microphone(arguments: argparse.Namespace) -> int:
    device = choose_device(list_input_devices(), arguments.device)
    target = await find_target(arguments, Environment.read())
    source = MicrophoneSource(device)
    text_to_stdout = arguments.format == "text" and arguments.output is None
    view = make_view(lambda: source.level_dbfs, arguments.plain, text_to_stdout)
    try:
        with _stopping_on_signals(source):
            document = await _follow(target, source, view)
    finally:
        view.close()
    if document is None:
        return INTERRUPTED
    if not text_to_stdout:
        _write(arguments, [document])
    return OK


async def _follow(
    target: Target, source: MicrophoneSource, view: TranscriptView
) -> Document | None:
    """Show what is heard until the source ends; None if it ended before the service answered."""
    view.show_state(f"connecting to {target}")

    def show_waiting(waiting: Waiting) -> None:
        view.show_state(f"waiting: {waiting.reason}")

    pauses_s: list[float] = []
    last_end_s: float | None = None
    is_admitted = False
    final: Final | None = None
    async with (
        target.make_client(on_wait=show_waiting) as client,
        client.stream(source, SessionOptions(pings=True)) as events,
    ):
        async for event in events:
            match event:
                case Ping() if not is_admitted:
                    # The gateway waits for a container and says so.
                    view.show_state("the service is starting; what you say is kept")
                case Ready():
                    is_admitted = True
                    view.show_state(f"listening to {source.device.name}")
                case Reconnected():
                    view.show_state("connected again")
                case Token(text, start_s):
                    if last_end_s is not None and start_s - last_end_s > NEW_LINE_GAP_S:
                        view.end_line()
                    view.add_text(text, time.monotonic() - (source.started_at or 0.0) - start_s)
                case Word(end_s=end_s):
                    last_end_s = end_s
                case Pause(offset_s):
                    pauses_s.append(offset_s)
                    view.end_line()
                case Final():
                    final = event
                case _:
                    pass
    return None if final is None else Document(None, final, tuple(pauses_s))


@contextlib.contextmanager
def _stopping_on_signals(source: MicrophoneSource) -> Generator[None]:
    """The first Ctrl-C ends the recording and lets the last words come; a second one leaves."""
    task = asyncio.current_task()
    assert task is not None
    signals = (signal.SIGINT, signal.SIGTERM)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            task.cancel()
        stopping = True
        source.stop()

    loop = asyncio.get_running_loop()
    # Windows has no signal handlers in its loop; there Ctrl-C leaves at once.
    with contextlib.suppress(NotImplementedError):
        for number in signals:
            loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)


def _write(arguments: argparse.Namespace, documents: Sequence[Document]) -> None:
    output: Path | None = arguments.output
    if output is None:
        sys.stdout.write(render_all(documents, arguments.format))
    elif output.is_dir():
        suffix = "txt" if arguments.format == "text" else arguments.format
        for path, document in zip(arguments.files, documents, strict=True):
            written = output / f"{Path(path).stem}.{suffix}"
            written.write_text(document.render(arguments.format), "utf-8")
    else:
        output.write_text(render_all(documents, arguments.format), "utf-8")
