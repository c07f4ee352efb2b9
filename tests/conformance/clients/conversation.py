"""What the scripts beside this one have in common: their arguments, their pace, and their answer.

They run in the environment of other people's clients, where nothing of this repository is
installed. Each holds one conversation after the other, as an agent does that runs for days: for a
line of JSON on standard input (a `Conversation`), it answers with one that begins with ANSWER.
"""

from __future__ import annotations

import asyncio
import json
import sys
import wave
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

RATE = 24_000
FRAME_SAMPLES = 1920
FRAME_BYTES = 2 * FRAME_SAMPLES
FRAME_S = FRAME_SAMPLES / RATE
PATIENCE_S = 15.0
READY = "ready"
"""Said once everything is imported, which takes seconds."""
ANSWER = "answer "


@dataclass
class Report:
    """What a client showed to its user."""

    finals: list[str] = field(default_factory=list)
    partials: list[str] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def count_words(self) -> int:
        return len(" ".join(self.finals).split())


@dataclass
class Conversation:
    """What to say, and to whom."""

    address: str
    """HOST:PORT of the gateway, or of the service itself where the protocol is gRPC."""
    path: str
    """A WAV file: 24 kHz, 16 bit, mono."""
    words: int
    turn_ends_s: list[float]
    key: str = "any key will do"
    uses_tls: bool = False

    def read_file(self) -> bytes:
        """The whole file."""
        return Path(self.path).read_bytes()

    def read_pcm(self) -> bytes:
        """16-bit samples."""
        with wave.open(self.path) as file:
            assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
            return file.readframes(file.getnframes())

    async def speak(
        self,
        send: Callable[[bytes], Awaitable[None]],
        end_turn: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Send the audio in frames of 80 ms, as fast as it was spoken."""
        pcm = self.read_pcm()
        ends = list(self.turn_ends_s)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        for number, at in enumerate(range(0, len(pcm), FRAME_BYTES)):
            await asyncio.sleep(max(0.0, started_s + number * FRAME_S - loop.time()))
            await send(pcm[at : at + FRAME_BYTES].ljust(FRAME_BYTES, b"\0"))
            if end_turn is not None and ends and (number + 1) * FRAME_S >= ends[0]:
                ends.pop(0)
                await end_turn()

    async def wait_for_words(self, report: Report) -> None:
        """Until every word is in a final; a second more for one too many."""
        waited_s = 0.0
        while report.count_words() < self.words and not report.errors and waited_s < PATIENCE_S:
            await asyncio.sleep(0.05)
            waited_s += 0.05
        await asyncio.sleep(1.0)


def run(talk: Callable[[Conversation, Report], Awaitable[None]]) -> None:
    """Hold the conversations that are asked for; what a client raises is part of the report."""

    async def hold(conversation: Conversation) -> Report:
        report = Report()
        try:
            await talk(conversation, report)
        except Exception as error:
            report.errors.append(f"{type(error).__name__}: {error}")
        return report

    print(READY, flush=True)
    for line in sys.stdin:
        report = asyncio.run(hold(Conversation(**json.loads(line))))
        print(ANSWER + json.dumps(asdict(report)), flush=True)
