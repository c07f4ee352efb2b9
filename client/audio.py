"""Audio from files, pipes and arrays: any format, rate and channels, as blocks for the service.

A source is anything that yields mono float32 blocks at 24 kHz. `FileSource` reads what FFmpeg
decodes (WAV, FLAC, MP3, OGG, Opus, M4A, WebM …) block by block and resamples while it reads, so a
recording of any length takes little memory and a pipe is transcribed while it is written.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import stat
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from pathlib import Path
from typing import IO

from client.decoding import Decoder
from client.names import show_name
from client.options import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, FloatArray
from client.pacing import BLOCK_S, ArraySource, PacedSource, Repeated
from client.pipes import Background, Pipe
from client.samples import SILENCE_DBFS, AudioError, Resampler, measure_dbfs

__all__ = ["BLOCK_S", "ArraySource", "AudioError", "FileSource", "PacedSource", "Resampler"]

STANDARD_INPUT = 0
SIGNAL_S = 0.05
"""Within this time of a pipe's end a signal for all of the pipeline is here too."""
_NAMES_OF_STANDARD_INPUT = ("/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")


class FileSource(PacedSource):
    """A recording: a file, or a pipe that it comes out of; 0 is standard input.

    A file that is missing or is not audio raises `AudioError` at once. A pipe is opened, and read
    in a thread, when the source is iterated, which can be done once. A recording that is cut off
    or damaged is read as far as possible; then `AudioError` is raised.
    """

    def __init__(self, path: str | Path | int, pace: float | None = None) -> None:
        self.path = STANDARD_INPUT if str(path) in _NAMES_OF_STANDARD_INPUT else path
        self.name = _name(self.path)
        """Its name in messages, on one line."""
        self.level_dbfs = SILENCE_DBFS
        """Loudness of the last block: 0 is full scale."""
        self.has_sound = False
        """Whether any sample so far was other than zero."""
        self._background: Background[FloatArray] | None = None
        self._pipe = self._find_pipe()
        if self._pipe is not None:
            super().__init__(self._read_pipe(self._pipe), None, pace)
            return
        with self._opened() as decoder:
            duration_s = decoder.duration_s
        super().__init__(Repeated(self._read_file), duration_s, pace)

    @property
    def document_name(self) -> str:
        """Its name in documents: the path as it was given."""
        return self.name if isinstance(self.path, int) else str(self.path)

    @property
    def is_live(self) -> bool:
        """Whether it is still being recorded: its end is unknown, and it can be stopped."""
        return self._pipe is not None

    async def __aiter__(self) -> AsyncGenerator[FloatArray]:
        async with contextlib.aclosing(super().__aiter__()) as blocks:
            async for block in blocks:
                self.level_dbfs = measure_dbfs(block)
                self.has_sound = self.has_sound or bool(block.any())
                yield block

    async def wait_for_audio(self) -> bool:
        """Wait for the first audio of a pipe; False if it was stopped before that.

        Raises `AudioError` if it has none.
        """
        if self._pipe is None:
            return True
        try:
            return await self._begin(self._pipe).wait_for_first()
        except AudioError:
            # Ctrl-C ends the whole pipeline: the pipe's end may be seen before our own signal is.
            await asyncio.sleep(SIGNAL_S)
            if self._pipe.was_stopped:
                return False
            raise

    def stop(self) -> None:
        """Stop reading a pipe; what was read is still yielded. May be called early or twice."""
        if self._pipe is not None:
            self._pipe.stop()
            if self._background is not None and not self._pipe.is_open:
                # The other end was never opened, and nothing wakes the thread that waits for that.
                self._background.end()

    def _find_pipe(self) -> Pipe | None:
        """The pipe to read; None for a file. Raises `AudioError` for anything else."""
        if isinstance(self.path, int):
            # It was closed when Python started, so another file may have its number by now.
            if self.path == STANDARD_INPUT and sys.__stdin__ is None:
                raise AudioError(f"{self.name} is closed.")
            return Pipe(self._duplicate)
        try:
            mode = os.stat(self.path).st_mode
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        if stat.S_ISFIFO(mode):
            return Pipe(self._open_pipe)
        if stat.S_ISDIR(mode):
            raise AudioError(f"{self.name} is a folder; name the recordings in it.")
        if not stat.S_ISREG(mode):
            raise AudioError(f"{self.name} is a device and no recording.")
        return None

    def _duplicate(self) -> int:
        assert isinstance(self.path, int)
        try:
            is_terminal = os.isatty(self.path)
            descriptor = os.dup(self.path)
        except OSError as error:
            raise AudioError(f"{self.name} is closed.") from error
        if is_terminal:
            os.close(descriptor)
            raise AudioError(
                f"{self.name} is a terminal; let a program write audio into it, like "
                "`arecord -f cd | stt-transcribe -`."
            )
        return descriptor

    def _open_pipe(self) -> int:
        return os.open(str(self.path), os.O_RDONLY)

    @contextlib.contextmanager
    def _opened(self) -> Generator[Decoder]:
        try:
            with (
                io.FileIO(self.path) as file,
                contextlib.closing(Decoder(_File(file), self.name)) as decoder,
            ):
                yield decoder
        except OSError as error:
            raise self._unreadable(error) from error

    def _read_file(self) -> Iterator[FloatArray]:
        with self._opened() as decoder:
            yield from self._resample(decoder)

    def _begin(self, pipe: Pipe) -> Background[FloatArray]:
        if self._background is None:
            self._background = Background(lambda: self._decode_pipe(pipe), f"read {self.name}")
            self._background.start()
        return self._background

    async def _read_pipe(self, pipe: Pipe) -> AsyncGenerator[FloatArray]:
        background = self._begin(pipe)
        try:
            async with contextlib.aclosing(aiter(background)) as blocks:
                async for block in blocks:
                    yield block
        finally:
            pipe.stop()

    def _decode_pipe(self, pipe: Pipe) -> Iterator[FloatArray]:
        """In a thread of its own."""
        heard = False
        try:
            with contextlib.closing(pipe):
                pipe.open()
                try:
                    with contextlib.closing(Decoder(pipe, self.name)) as decoder:
                        for block in self._resample(decoder):
                            pipe.forget()
                            heard = True
                            yield block
                except AudioError:
                    if heard or (whole := pipe.read_whole()) is None:
                        raise
                    with contextlib.closing(Decoder(_File(whole), self.name)) as decoder:
                        yield from self._resample(decoder)
        except OSError as error:
            raise self._unreadable(error) from error

    def _resample(self, decoder: Decoder) -> Iterator[FloatArray]:
        """Blocks of at most `BLOCK_S`; samples that were held back come before an error."""
        resampler = Resampler(SAMPLE_RATE_HERTZ)
        complaint: AudioError | None = None
        try:
            for samples in decoder.decode():
                if samples.sample_rate_hertz != resampler.sample_rate_hertz:
                    yield from _cut(resampler.finish())
                    resampler = Resampler(samples.sample_rate_hertz)
                try:
                    yield from _cut(resampler.push(samples.pcm))
                except AudioError as error:
                    raise AudioError(f"{self.name}: {error}") from error
        except AudioError as error:
            complaint = error
        yield from _cut(resampler.finish())
        if complaint is not None:
            raise complaint

    def _unreadable(self, error: Exception) -> AudioError:
        if isinstance(error, FileNotFoundError):
            return AudioError(f"There is no file {self.name}.")
        reason = error.strerror if isinstance(error, OSError) else None
        return AudioError(f"{self.name} cannot be read ({reason or error}).")


class _File:
    """An opened file for the decoder, which never learns its name."""

    was_stopped = False

    def __init__(self, file: IO[bytes] | io.FileIO) -> None:
        self._file = file
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def peek(self, size: int) -> bytes:
        head = self._file.read(size)
        self._file.seek(0)
        return head


def _cut(pcm: FloatArray) -> Iterator[FloatArray]:
    """No empty block, and none longer than `BLOCK_S`."""
    for start in range(0, len(pcm), FRAME_SAMPLES):
        yield pcm[start : start + FRAME_SAMPLES]


def _name(path: str | Path | int) -> str:
    if isinstance(path, int):
        return "standard input" if path == STANDARD_INPUT else f"descriptor {path}"
    return show_name(path)
