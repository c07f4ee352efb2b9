"""Recordings, one after the other: each is written when it is done, and a bad one is skipped."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from client.audio import AudioError, FileSource
from client.command.environment import Environment
from client.command.exit_codes import INTERRUPTED, OK, exit_code_for
from client.command.target import find_target
from client.command.terminal import can_redraw
from client.names import show_name
from client.rpc.errors import (
    NoSuchService,
    ServerFull,
    ServerUnavailable,
    SttError,
    Unauthenticated,
)
from client.rpc.events import Event, Final
from client.rpc.retry import Waiting
from client.stream import SttClient, WebSocketSttClient
from client.transcribe.documents import Document
from client.transcribe.listening import Heard, listen, stopping_on_signals
from client.transcribe.live import options_for, transcribe_live
from client.transcribe.messages import tell, tell_if_wordless
from client.transcribe.outputs import Input, make_folder, plan_outputs, write_output, write_stdout

Client = SttClient | WebSocketSttClient

# Failures that all recordings would share.
_NO_SERVICE = (NoSuchService, ServerFull, ServerUnavailable, Unauthenticated)


@dataclass(frozen=True)
class _Job:
    source: FileSource
    output: Path | None


async def transcribe_recordings(arguments: argparse.Namespace, inputs: Sequence[Input]) -> int:
    """Transcribe recordings in their order; returns the exit code, the first failure's."""
    output: Path | None = arguments.output
    outputs: Sequence[Path | None] = [None] * len(inputs)
    if output is not None:
        if arguments.is_folder:
            make_folder(output)
        outputs = plan_outputs(inputs, output, arguments.format)
        _tell_other_names(inputs, outputs)
    jobs, failures = _open_all(inputs, outputs)
    if len(inputs) == 1 and jobs and jobs[0].source.is_live:
        return await transcribe_live(arguments, jobs[0].source, jobs[0].output)
    if jobs:
        batch = _Batch(arguments, len(inputs), failures)
        try:
            await batch.run(jobs)
        finally:
            batch.close()
    return failures[0] if failures else OK


def _tell_other_names(inputs: Sequence[Input], outputs: Sequence[Path | None]) -> None:
    for recording, output in zip(inputs, outputs, strict=True):
        if output is None or isinstance(recording, int) or len(inputs) == 1:
            continue
        if output.stem != Path(recording).stem:
            tell(f"the transcript of {show_name(recording)} will be {show_name(output)}.")


def _open_all(
    inputs: Sequence[Input], outputs: Sequence[Path | None]
) -> tuple[list[_Job], list[int]]:
    """The recordings that can be opened, and an exit code for each that cannot."""
    jobs: list[_Job] = []
    failures: list[int] = []
    for recording, output in zip(inputs, outputs, strict=True):
        try:
            jobs.append(_Job(FileSource(recording), output))
        except AudioError as error:
            tell(error)
            failures.append(exit_code_for(error))
    return jobs, failures


class _Batch:
    """The run of several recordings over one client."""

    def __init__(self, arguments: argparse.Namespace, count: int, failures: list[int]) -> None:
        self._arguments = arguments
        self._count = count
        self._failures = failures
        self._format: str = arguments.format
        self._printed = 0
        self._listed: list[Document] = []
        self._told: set[str] = set()
        self._console = Console(stderr=True)

    async def run(self, jobs: Sequence[_Job]) -> None:
        """Transcribe one after the other; stop if the service is not available."""
        target = await find_target(self._arguments, Environment.read())
        async with target.make_client(on_wait=self._show_waiting) as client:
            for number, job in enumerate(jobs, start=1):
                try:
                    failure = await self._transcribe(client, job, f"{number} of {len(jobs)}  ")
                except asyncio.CancelledError:
                    if len(jobs) > 1:
                        tell(f"interrupted; {number - 1} of {len(jobs)} recordings are done.")
                    raise
                if failure is None:
                    continue
                self._failures.append(exit_code_for(failure))
                is_named = len(jobs) == 1 or isinstance(failure, AudioError)
                tell(failure if is_named else f"{job.source.name}: {failure}")
                if isinstance(failure, _NO_SERVICE) and number < len(jobs):
                    tell(f"{len(jobs) - number} more recordings were not transcribed.")
                    return

    def close(self) -> None:
        """Print what can only be printed when all are done."""
        if self._listed:
            listed = [document.to_json() for document in self._listed]
            write_stdout(json.dumps(listed, ensure_ascii=False, indent=1) + "\n")

    async def _transcribe(
        self, client: Client, job: _Job, counted: str
    ) -> SttError | AudioError | None:
        """Transcribe and write one recording; returns why it failed, or failed in part."""
        source = job.source
        leaving = stopping_on_signals(source) if source.is_live else contextlib.nullcontext()
        with leaving:
            try:
                if not await source.wait_for_audio():
                    self._failures.append(INTERRUPTED)
                    return None
            except AudioError as error:
                return error
            heard = await self._listen(client, source, counted)
        document = heard.document(source.document_name)
        if document is not None:
            self._write(job, document)
            if heard.failure is None:
                tell_if_wordless(source, document.final)
        return heard.failure

    async def _listen(self, client: Client, source: FileSource, counted: str) -> Heard:
        title = source.name if self._count == 1 else counted + source.name
        if self._console.is_dumb_terminal:
            self._console.print(f"[{title}]", markup=False, highlight=False, soft_wrap=True)
        with self._progress() as progress:
            task = progress.add_task(title, total=source.duration_s)

            def show(event: Event) -> None:
                is_over = isinstance(event, Final)
                done_s = source.duration_s if is_over else event.timing.processed_s
                progress.update(task, completed=done_s)

            return await listen(client.stream(source, options_for(source)), show)

    def _write(self, job: _Job, document: Document) -> None:
        if job.output is not None:
            write_output(job.output, document.render(self._format))
        elif self._count == 1:
            write_stdout(document.render(self._format))
        elif self._format == "json":
            self._listed.append(document)
        else:
            between = "\n" if self._printed else ""
            self._printed += 1
            text = document.render(self._format)
            write_stdout(f"{between}==> {job.source.name} <==\n{text}")

    def _progress(self) -> Progress:
        return Progress(
            # A name may look like markup.
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not can_redraw(self._console),
            # Transcripts go to standard output, not to where the progress is.
            redirect_stdout=False,
        )

    def _show_waiting(self, waiting: Waiting) -> None:
        reason = str(waiting.reason)
        if reason not in self._told:
            self._told.add(reason)
            self._console.print(f"[{reason}]", markup=False, highlight=False, soft_wrap=True)
