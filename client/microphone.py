"""The microphone as an audio source. The only module that loads PortAudio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Generator
from dataclasses import dataclass
from typing import Any, cast

from client.options import FloatArray
from client.samples import SILENCE_DBFS, AudioError, Resampler, measure_dbfs

BLOCK_S = 0.04
# A device that delivers nothing for this long was unplugged or lost to another program.
SILENT_DEVICE_S = 3.0
MAX_BACKLOG_S = 60.0

NO_PORTAUDIO = (
    "The PortAudio library is missing. Install it: `apt install libportaudio2` (Debian, Ubuntu), "
    "`dnf install portaudio` (Fedora), `brew install portaudio` (macOS)."
)


@dataclass(frozen=True)
class InputDevice:
    """A recording device as PortAudio numbers it."""

    index: int
    name: str
    channels: int
    sample_rate_hertz: float
    is_default: bool


def list_input_devices() -> list[InputDevice]:
    """Every device that records. Raises `AudioError` where PortAudio is missing."""
    sounddevice = _load_sounddevice()
    default_index = sounddevice.default.device[0]
    devices = cast("list[dict[str, Any]]", list(sounddevice.query_devices()))
    return [
        InputDevice(
            index,
            device["name"],
            device["max_input_channels"],
            device["default_samplerate"],
            index == default_index,
        )
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def choose_device(devices: list[InputDevice], wanted: str | None) -> InputDevice:
    """The device with this index or with this part of its name; the default one for None."""
    if not devices:
        raise AudioError(
            "No microphone was found. Plug one in, or name a recording (`-` for a pipe)."
        )
    if wanted is None:
        return next((device for device in devices if device.is_default), devices[0])
    if wanted.isdecimal():
        matching = [device for device in devices if device.index == int(wanted)]
    else:
        matching = [device for device in devices if wanted.lower() in device.name.lower()]
        exact = [device for device in matching if device.name.lower() == wanted.lower()]
        matching = exact or matching
    if len(matching) != 1:
        problem = "There is no" if not matching else "There is more than one"
        known = ", ".join(f"{device.index} ({device.name})" for device in devices)
        raise AudioError(f"{problem} recording device {wanted!r}. There are: {known}.")
    return matching[0]


class MicrophoneSource:
    """Yields audio from a microphone, from the first iteration until `stop`.

    Raises `AudioError` if the device cannot be opened or disappears.
    """

    def __init__(self, device: InputDevice) -> None:
        self.device = device
        self.level_dbfs = SILENCE_DBFS
        """Loudness of the last block: 0 is full scale."""
        self.started_at: float | None = None
        """`time.monotonic()` at the first sample; None before it."""
        self._queue: asyncio.Queue[FloatArray | None] = asyncio.Queue(
            maxsize=round(MAX_BACKLOG_S / BLOCK_S)
        )
        self._overflowed = False
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop recording; audio recorded so far is still yielded. May be called early or twice."""
        self._stopped = True
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[FloatArray]:
        self._loop = asyncio.get_running_loop()
        resampler = Resampler(self.device.sample_rate_hertz)
        stream = self._open_stream()
        try:
            while (block := await self._next_block()) is not None:
                self.level_dbfs = measure_dbfs(block)
                if len(pcm := resampler.push(block)):
                    yield pcm
            if len(pcm := resampler.finish()):
                yield pcm
        finally:
            # Closing a device that has disappeared can take PortAudio a second.
            await asyncio.shield(asyncio.to_thread(stream.close))

    async def _next_block(self) -> FloatArray | None:
        if self._stopped and self._queue.empty():
            return None
        if self._overflowed:
            raise AudioError(
                f"The service has taken no audio for {MAX_BACKLOG_S:g} s; recording stopped."
            )
        try:
            async with asyncio.timeout(SILENT_DEVICE_S):
                return await self._queue.get()
        except TimeoutError as error:
            raise AudioError(
                f"The device {self.device.name!r} has stopped giving audio. Was it unplugged, or "
                "is this terminal not allowed to use the microphone?"
            ) from error

    def _open_stream(self) -> Any:
        sounddevice = _load_sounddevice()
        rate_hertz = self.device.sample_rate_hertz
        stream = None
        try:
            stream = sounddevice.InputStream(
                device=self.device.index,
                samplerate=rate_hertz,
                blocksize=round(rate_hertz * BLOCK_S),
                channels=min(2, self.device.channels),
                dtype="float32",
                callback=self._receive,
            )
            stream.start()
        except sounddevice.PortAudioError as error:
            if stream is not None:
                stream.close()
            raise AudioError(
                f"The device {self.device.name!r} cannot be opened ({error}). Another program may "
                "hold it, or this terminal may not be allowed to use the microphone."
            ) from error
        return stream

    def _receive(self, block: FloatArray, samples: int, times: object, status: object) -> None:
        """In PortAudio's thread: pass the block to the event loop."""
        if self.started_at is None:
            self.started_at = time.monotonic() - samples / self.device.sample_rate_hertz
        assert self._loop is not None
        # At exit the loop may close before the device.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, block.copy())

    def _put(self, block: FloatArray) -> None:
        try:
            self._queue.put_nowait(block)
        except asyncio.QueueFull:
            self._overflowed = True


def _load_sounddevice() -> Any:
    try:
        import sounddevice
    except OSError as error:
        raise AudioError(NO_PORTAUDIO) from error
    return sounddevice


@contextlib.contextmanager
def native_noise_hidden() -> Generator[None]:
    """Hide what ALSA and PortAudio write to standard error; Python's own messages still appear.

    Commands use it around all microphone work: the libraries complain about every device that
    they do not find, in the middle of the screen.
    """
    shown = sys.stderr
    saved = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with os.fdopen(os.dup(saved), "w", buffering=1, encoding="utf-8") as sys.stderr:
            yield
    finally:
        sys.stderr = shown
        os.dup2(saved, 2)
        os.close(saved)
