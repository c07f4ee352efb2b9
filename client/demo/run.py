"""The work of stt-demo."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import signal
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from client.audio import BLOCK_S, AudioError, FileSource
from client.command.exit_codes import FAILED, OK
from client.demo.local_server import LocalServer, LocalServerError, run_local_server
from client.demo.view import (
    GRPC,
    PROTOCOLS,
    WEBSOCKET,
    Comparison,
    DemoView,
    Heard,
    make_view,
)
from client.recordings import Recording, load_recordings
from client.rpc.errors import SttError
from client.rpc.events import Final, Token
from client.scoring import count_word_errors, percentile
from client.stream import SttClient, WebSocketSttClient

DEFAULT_RECORDINGS = 3
DEFAULT_SLOTS = 8
RECORDINGS_PER_SESSION = 3
TELL_EVERY_S = 5.0

Client = SttClient | WebSocketSttClient


async def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code."""
    view = make_view(Console(), arguments.plain)
    task = asyncio.current_task()
    assert task is not None
    # SIGINT cancels anyway; SIGTERM must stop the server too.
    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await _run(arguments, view)
    except (LocalServerError, SttError, AudioError) as error:
        print(f"stt-demo: {error}", file=sys.stderr)
        return FAILED


async def _run(arguments: argparse.Namespace, view: DemoView) -> int:
    started = time.monotonic()
    view.say("Starting the service with the embedded digits model …")
    slots = max(DEFAULT_SLOTS, arguments.sessions or 0)
    progress = _StartProgress(view)
    async with run_local_server(["--model", "digits"], slots, progress.tell) as server:
        waited_s = time.monotonic() - started
        view.say(
            f"Ready after {waited_s:.1f} s: gRPC {server.grpc_address}, "
            f"WebSocket {server.websocket_url}"
        )
        recordings = load_recordings()
        if arguments.sessions:
            return await measure_sessions(server, recordings, arguments.sessions, view)
        chosen = recordings if arguments.all else recordings[:DEFAULT_RECORDINGS]
        return await compare_protocols(server, chosen, view)


class _StartProgress:
    """Shows every few seconds that the server is still starting."""

    def __init__(self, view: DemoView) -> None:
        self._view = view
        self._next_s = TELL_EVERY_S

    def tell(self, waited_s: float) -> None:
        if waited_s >= self._next_s:
            self._next_s += TELL_EVERY_S
            self._view.say(f"  … loading the model, {waited_s:.0f} s")


async def compare_protocols(
    server: LocalServer, recordings: Sequence[Recording], view: DemoView
) -> int:
    """Play each recording over both protocols at once; the exit code says whether they agree."""
    comparisons: list[Comparison] = []
    async with (
        SttClient(server.grpc_address) as grpc_client,
        WebSocketSttClient(server.websocket_url) as websocket_client,
    ):
        clients: dict[str, Client] = {GRPC: grpc_client, WEBSOCKET: websocket_client}
        for number, recording in enumerate(recordings, start=1):
            comparison = Comparison(recording, {protocol: Heard() for protocol in PROTOCOLS})
            view.begin(
                comparison,
                f"Recording {number} of {len(recordings)}: {recording.path.name}, spoken by "
                f"{_name_speaker(recording)}, {recording.duration_s:.1f} s at real time",
            )
            await asyncio.gather(
                *(_play(clients[protocol], protocol, comparison, view) for protocol in PROTOCOLS)
            )
            view.end(comparison)
            comparisons.append(comparison)
    return _conclude(comparisons, view)


def _name_speaker(recording: Recording) -> str:
    return "a synthetic voice" if recording.synthetic else recording.speaker


async def _play(client: Client, protocol: str, comparison: Comparison, view: DemoView) -> None:
    source = FileSource(comparison.recording.path, pace=1.0)
    heard = comparison.by_protocol[protocol]
    async with client.stream(source) as events:
        async for event in events:
            match event:
                case Token(text, start_s):
                    now = time.monotonic()
                    behind_s = now - source.time_of(start_s)
                    heard.tokens.append((text, behind_s))
                    view.show_token(protocol, text, now - source.time_of(0.0), behind_s)
                case Final(transcript):
                    heard.transcript = transcript
                case _:
                    pass


def _conclude(comparisons: Sequence[Comparison], view: DemoView) -> int:
    words = sum(len(comparison.recording.text.split()) for comparison in comparisons)
    errors = sum(
        count_word_errors(
            comparison.recording.text.split(), comparison.by_protocol[GRPC].transcript.split()
        )
        for comparison in comparisons
    )
    behind = [
        behind_s
        for comparison in comparisons
        for heard in comparison.by_protocol.values()
        for _, behind_s in heard.tokens
    ]
    agreeing = sum(comparison.agree for comparison in comparisons)
    view.say(f"\n{agreeing} of {len(comparisons)} transcripts are the same over both protocols.")
    view.say(f"Word error rate: {errors / words:.1%} ({errors} of {words} words).")
    if behind:
        view.say(
            f"A word came {percentile(behind, 50):.2f} s (median) after it began in the audio, "
            f"at most {max(behind):.2f} s."
        )
    return OK if agreeing == len(comparisons) else FAILED


async def measure_sessions(
    server: LocalServer, recordings: Sequence[Recording], sessions: int, view: DemoView
) -> int:
    """Run real-time sessions at once; prints delivery and lag percentiles."""
    view.say(
        f"{sessions} sessions at once, each {RECORDINGS_PER_SESSION} recordings at real time …"
    )
    delivery_s: list[float] = []
    behind_s: list[float] = []
    wrong: list[str] = []
    endless = itertools.cycle(recordings)
    async with SttClient(server.grpc_address) as client:

        async def run_session(index: int, playlist: Sequence[Recording]) -> None:
            # Speakers do not start in step with each other.
            await asyncio.sleep(index * BLOCK_S / sessions)
            for recording in playlist:
                transcript = await _measure(client, recording, delivery_s, behind_s)
                if transcript.split() != recording.text.split():
                    wrong.append(f"{recording.path.name}: {transcript.strip()}")

        await asyncio.gather(
            *(
                run_session(index, list(itertools.islice(endless, RECORDINGS_PER_SESSION)))
                for index in range(sessions)
            )
        )
    view.say(
        f"From the end of a step to the event at the client: p50 "
        f"{percentile(delivery_s, 50) * 1e3:.1f} ms, p99 {percentile(delivery_s, 99) * 1e3:.1f} ms "
        f"({len(delivery_s)} events)"
    )
    view.say(
        "From the moment a word began in the audio to its token: "
        + ", ".join(f"p{p} {percentile(behind_s, p):.2f} s" for p in (50, 90, 99))
    )
    played = sessions * RECORDINGS_PER_SESSION
    view.say(f"{played - len(wrong)} of {played} transcripts have no word error.")
    for line in wrong:
        view.say(f"  {line}")
    return OK


async def _measure(
    client: SttClient, recording: Recording, delivery_s: list[float], behind_s: list[float]
) -> str:
    source = FileSource(recording.path, pace=1.0)
    transcript = ""
    async with client.stream(source) as events:
        async for event in events:
            if event.timing.step_time is not None:
                delivery_s.append(time.time() - event.timing.step_time)
            if isinstance(event, Token):
                behind_s.append(time.monotonic() - source.time_of(event.start_s))
            if isinstance(event, Final):
                transcript = event.transcript
    return transcript
