"""One recording or microphone → its transcript, however it ended."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Protocol

from client.audio import AudioError
from client.rpc.errors import SttError
from client.rpc.events import Event, Final, Pause, Token, Word
from client.session import TranscriptStream
from client.transcribe.documents import Document


@dataclass
class Heard:
    """The events of one stream, collected."""

    final: Final | None = None
    failure: SttError | AudioError | None = None
    """Why it ended early. A source that failed has a `final` too."""
    pauses_s: list[float] = field(default_factory=list[float])
    _texts: list[str] = field(default_factory=list[str])
    _words: list[Word] = field(default_factory=list[Word])
    _processed_s: float = 0.0

    def note(self, event: Event) -> None:
        """One more event."""
        self._processed_s = max(self._processed_s, event.timing.processed_s)
        match event:
            case Token(text):
                self._texts.append(text)
            case Word():
                self._words.append(event)
            case Pause(offset_s):
                self.pauses_s.append(offset_s)
            case Final():
                self.final = event
            case _:
                pass

    def document(self, name: str | None) -> Document | None:
        """The transcript; None if the service did not finish it."""
        return None if self.final is None else Document(name, self.final, tuple(self.pauses_s))

    def unfinished_document(self, name: str | None) -> Document | None:
        """The transcript so far; None if there is no word."""
        if self.final is None and self._texts:
            final = Final("".join(self._texts), tuple(self._words), self._processed_s)
            return Document(name, final, tuple(self.pauses_s))
        return self.document(name)


async def listen(stream: TranscriptStream, show: Callable[[Event], None]) -> Heard:
    """Run a stream to its end. Its failure is part of the result."""
    heard = Heard()
    try:
        async with stream as events:
            async for event in events:
                heard.note(event)
                show(event)
    except (SttError, AudioError) as error:
        heard.failure = error
    return heard


class Stoppable(Protocol):
    """A source without an end of its own."""

    def stop(self) -> None:
        """End it after the audio recorded so far."""
        ...


@dataclass
class Stopping:
    """Whether the user asked to stop."""

    was_asked: bool = False


@contextlib.contextmanager
def stopping_on_signals(source: Stoppable) -> Generator[Stopping]:
    """The first Ctrl-C ends the recording and waits for the last words; a second one exits."""
    task = asyncio.current_task()
    assert task is not None
    signals = (signal.SIGINT, signal.SIGTERM)
    stopping = Stopping()

    def stop() -> None:
        if stopping.was_asked:
            task.cancel()
        stopping.was_asked = True
        source.stop()

    loop = asyncio.get_running_loop()
    # Windows has no signal handlers in its loop; there Ctrl-C leaves at once.
    with contextlib.suppress(NotImplementedError):
        for number in signals:
            loop.add_signal_handler(number, stop)
    try:
        yield stopping
    finally:
        with contextlib.suppress(NotImplementedError):
            for number in signals:
                loop.remove_signal_handler(number)
