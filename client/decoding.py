"""Recordings of any format → blocks of samples. The only module that knows FFmpeg (PyAV).

FFmpeg is given an open file and never a name, because it would open URLs and playlists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

from client.headers import (
    UNKNOWN_FROM_BYTES,
    WavHeader,
    is_ended_ogg,
    read_mp3_length_s,
    read_wav_header,
)
from client.samples import AudioError

# Without these FFmpeg reads seconds of audio before it returns the first sample.
_LIVE_OPTIONS = {"analyzeduration": "1", "fpsprobesize": "0"}
# Recordings, and what programs write into pipes. Playlists and scripts are left out because they
# name other files; images and text because FFmpeg detects them in arbitrary data.
_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,eac3,flac,flv,matroska,webm,mov,mp4,mp3,mpeg,"
    "mpegts,mpc,mpc8,ogg,rm,tta,voc,w64,wav,wv,s16le,s24le,s32le,u8,f32le,f64le,alaw,mulaw"
)
_OPTIONS = {**_LIVE_OPTIONS, "format_whitelist": _FORMATS, "protocol_whitelist": "none"}
# Formats whose length FFmpeg takes from a header; for others it guesses from the size.
_FORMATS_WITH_LENGTH = {
    "wav",
    "flac",
    "aiff",
    "au",
    "caf",
    "w64",
    "matroska,webm",
    "mov,mp4,m4a,3gp,3g2,mj2",
}
# Codecs add or drop samples at both ends of a recording.
LENGTH_TOLERANCE_S = 0.25
# The shortest packet in telephony; less is not speech.
MIN_S = 0.02
_TEXT_BYTES = bytes(range(32, 127)) + b"\t\r\n"
_MAGIC = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM", b"\x1a\x45\xdf\xa3")
HEAD_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
_WAV_HEAD_BYTES = 1 << 16


class Input(Protocol):
    """An opened recording. With `seek` and `tell` too, FFmpeg may jump in it."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes, as soon as there are any; none at the end."""
        ...

    def peek(self, size: int) -> bytes:
        """The first bytes, fewer only where the recording is shorter; before the first `read`."""
        ...

    @property
    def was_stopped(self) -> bool:
        """Whether reading was stopped before the end."""
        ...


@dataclass(frozen=True)
class Samples:
    """Decoded audio: `[samples, channels]` of integers or floats."""

    pcm: npt.NDArray[Any]
    sample_rate_hertz: int


class Decoder:
    """One recording; iterate `decode` once.

    Raises `AudioError` if the input is not audio; `name` identifies it in the message.
    """

    def __init__(self, source: Input, name: str) -> None:
        self._watched = _Watched(source)
        self._name = name
        head = self._watched.peek(12)
        if not head:
            raise AudioError(f"{name} is empty: not one byte is in it.")
        self._wav: WavHeader | None = None
        if head[:4] == b"RIFF":
            self._wav = read_wav_header(self._watched.peek_wav_header())
        self._container = self._open()
        try:
            self._stream = self._find_audio()
        except AudioError:
            self._container.close()
            raise
        self.decoded_s = 0.0
        self._damaged_pieces = 0

    @property
    def duration_s(self) -> float | None:
        """Length according to the header or, in formats that have none there, to the size."""
        if self._wav is not None and self._wav.declared_s is not None:
            return self._wav.declared_s
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        # With video, the container may be longer than its audio.
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / 1_000_000
        return None

    def decode(self) -> Iterator[Samples]:
        """Yield everything that can be decoded, then raise `AudioError` if something is missing."""
        declared_s = self._find_declared_s()
        for block in self._blocks():
            pcm = _to_array(block)
            self.decoded_s += len(pcm) / block.sample_rate
            yield Samples(pcm, block.sample_rate)
        self._check_complete(declared_s)

    def close(self) -> None:
        """Release FFmpeg's state; the input stays open. May be called twice."""
        self._container.close()

    def _open(self) -> Any:
        raw = self._wav.raw_format if self._wav is not None else None
        try:
            if self._wav is None or raw is None:
                file = self._watched.as_file()
                return av.open(file, options=_OPTIONS, metadata_errors="ignore")
            # FFmpeg's WAV demuxer searches the first 64 KiB for DTS: four seconds of a phone call.
            self._watched.restrict(self._wav.data_start, self._wav.data_bytes)
            layout = {
                "sample_rate": str(self._wav.sample_rate_hertz),
                "ch_layout": f"{self._wav.channels}C",
            }
            return av.open(_File(self._watched), format=raw, options={**_OPTIONS, **layout})
        except (FFmpegError, ValueError) as error:
            raise AudioError(explain_no_audio(self._name, self._watched.head)) from error

    def _find_audio(self) -> Any:
        streams = self._container.streams
        if not streams.audio:
            raise AudioError(f"{self._name} holds pictures and no sound.")
        stream = streams.best("audio") or streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(
                f"{self._name} is compressed in a way that is not known here; convert it."
            )
        return stream

    def _find_declared_s(self) -> float | None:
        if self._wav is not None and (self._wav.declared_s or self._wav.data_bytes is None):
            return self._wav.declared_s
        if self._container.format.name not in _FORMATS_WITH_LENGTH:
            return None
        length_s, context = self.duration_s, self._stream.codec_context
        if length_s is not None and context.name.startswith("pcm_"):
            length_bytes = length_s * (context.bit_rate or 0) / 8
            return length_s if length_bytes < UNKNOWN_FROM_BYTES - (1 << 16) else None
        return length_s

    def _blocks(self) -> Iterator[Any]:
        try:
            for packet in self._container.demux(self._stream):
                try:
                    yield from packet.decode()
                except FFmpegError:
                    self._damaged_pieces += 1
        except FFmpegError:
            self._damaged_pieces += 1

    def _check_complete(self, declared_s: float | None) -> None:
        if self._watched.was_stopped:
            return
        name, decoded_s = self._name, self.decoded_s
        if self._container.format.name == "mp3":
            declared_s = read_mp3_length_s(self._watched.head)
        if decoded_s < MIN_S:
            if self._damaged_pieces:
                raise AudioError(explain_no_audio(name, self._watched.head))
            held = f"only {decoded_s * 1000:.2g} ms of" if decoded_s else "a header and no"
            raise AudioError(f"{name} holds {held} audio.")
        if declared_s is not None and decoded_s < declared_s - LENGTH_TOLERANCE_S:
            raise AudioError(
                f"{name} is cut off: its header promises {declared_s:.1f} s of audio, and "
                f"{decoded_s:.1f} s are there."
            )
        if self._container.format.name == "ogg" and not is_ended_ogg(self._watched.tail):
            raise AudioError(
                f"{name} is cut off: after {decoded_s:.1f} s of audio it has no last page."
            )
        if self._damaged_pieces:
            pieces = "piece" if self._damaged_pieces == 1 else "pieces"
            raise AudioError(
                f"{name} is damaged: {self._damaged_pieces} {pieces} of it could not be decoded; "
                f"the other {decoded_s:.1f} s were."
            )


class _Watched:
    """Keeps the first and the last bytes of an input, and the part of it that holds samples."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._left: int | None = None
        self._head = bytearray()
        self.tail = b""

    @property
    def was_stopped(self) -> bool:
        return self._source.was_stopped

    def peek(self, size: int) -> bytes:
        return self._source.peek(size)

    @property
    def head(self) -> bytes:
        """The first bytes that were read."""
        return bytes(self._head)

    def peek_wav_header(self) -> bytes:
        """Enough bytes to read a WAV header; chunks with metadata may come first."""
        size = 512
        while True:
            head = self._source.peek(size)
            if len(head) < size or size >= _WAV_HEAD_BYTES or read_wav_header(head) is not None:
                return head
            size *= 2

    def restrict(self, start: int, size: int | None) -> None:
        """Skip what comes before `start`, and end after `size` bytes."""
        while start > 0 and (skipped := self.read(start)):
            start -= len(skipped)
        self._left = size

    def read(self, size: int) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
        data = self._source.read(size) if size else b""
        if self._left is not None:
            self._left -= len(data)
        if len(self._head) < HEAD_BYTES:
            self._head += data
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        return data

    def as_file(self) -> Any:
        """What FFmpeg reads; it may jump where the input can."""
        if hasattr(self._source, "seek"):
            return _SeekableFile(self, self._source)
        return _File(self)


class _File:
    def __init__(self, watched: _Watched) -> None:
        self.read = watched.read


class _SeekableFile(_File):
    def __init__(self, watched: _Watched, source: Any) -> None:
        super().__init__(watched)
        self.seek = source.seek
        self.tell = source.tell


def _to_array(block: Any) -> npt.NDArray[Any]:
    """`[samples, channels]` of an `av.AudioFrame`'s own type; unsigned bytes become floats."""
    pcm = cast("npt.NDArray[Any]", block.to_ndarray())
    pcm = pcm.T if block.format.is_planar else pcm.reshape(-1, block.layout.nb_channels)
    if pcm.dtype == np.uint8:
        return (pcm.astype(np.float32) - 128) / 128
    return pcm


def explain_no_audio(name: str, head: bytes) -> str:
    """Why a file that starts with `head` cannot be read, and what to do about it."""
    start = head[:512].lstrip()
    if start.startswith(b"version https://git-lfs"):
        return (
            f"{name} is a pointer of git-lfs in place of the recording; fetch it: `git lfs pull`."
        )
    if start.startswith(b"<"):
        return f"{name} is a web page or XML and cannot be read as audio; did a download fail?"
    if start and not start.translate(None, _TEXT_BYTES):
        return f"{name} is text and cannot be read as audio."
    if head.startswith(_MAGIC) or head[4:8] == b"ftyp":
        return f"{name} is damaged or cut off: it starts like audio and cannot be read as audio."
    return (
        f"{name} cannot be read as audio. If it holds samples without a header, give it one: "
        "`ffmpeg -f s16le -ar 16000 -ac 1 -i IN OUT.wav`, with their type, rate and channels."
    )
