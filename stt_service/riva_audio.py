"""The audio of a Riva call: how its config and its first bytes say that it is written. Pure."""

import struct
import sys
from dataclasses import dataclass
from typing import NamedTuple

from stt.nvidia_riva import riva_asr_pb2, riva_audio_pb2
from stt_service.engine.errors import InvalidAudio, InvalidOptions

ENCODINGS = {
    riva_audio_pb2.LINEAR_PCM: "pcm_s16le",
    riva_audio_pb2.MULAW: "mulaw",
    riva_audio_pb2.ALAW: "alaw",
    riva_audio_pb2.OGGOPUS: "ogg_opus",
}
# Before the samples of a WAV file there may be other chunks, such as names.
MAX_HEADER_BYTES = 64 * 1024

# By format tag and bits of a sample.
_WAV_ENCODINGS = {(1, 16): "pcm_s16le", (3, 32): "pcm_f32le", (6, 8): "alaw", (7, 8): "mulaw"}
_EXTENSIBLE = 0xFFFE
_SUBFORMAT_AT = 24
_RIFF = struct.Struct("<4s4x4s")
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
# Programs that write a file while they send it cannot know its size: they say nothing, or much.
_UNKNOWN_SIZE = 0x7FFF0000


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How the samples are written; the rate of a container, which says it itself, is 0."""

    encoding: str
    sample_rate_hertz: int

    def __str__(self) -> str:
        rate = f" at {self.sample_rate_hertz} Hz" if self.sample_rate_hertz else ""
        return f"{self.encoding}{rate}"


class Beginning(NamedTuple):
    """What the first bytes of the audio say."""

    format: AudioFormat | None
    """None for bare samples, which say nothing."""
    samples_at: int
    samples_bytes: int


class AudioReader:
    """Takes a call's audio, and gives what a session takes: samples without a header, or Ogg.

    Raises InvalidOptions for a config that cannot be served.
    """

    def __init__(self, config: riva_asr_pb2.RecognitionConfig) -> None:
        self._rate = config.sample_rate_hertz
        self._encoding = decode_encoding(config.encoding)
        if config.audio_channel_count > 1:
            raise InvalidOptions(
                "config.audio_channel_count",
                f"config.audio_channel_count is {config.audio_channel_count}; send mono",
            )
        self.format: AudioFormat | None = self._decode_format()
        """Known from the config, or from the first bytes."""
        # None once the samples have begun.
        self._beginning: bytearray | None = bytearray()
        self._bytes_left = sys.maxsize

    def feed(self, data: bytes) -> bytes:
        """What of `data`, and of the bytes that were kept, is audio.

        Raises InvalidAudio if the audio is not what the config says, InvalidOptions if neither of
        them says how it is written.
        """
        if self._beginning is None:
            return self._cut(data)
        self._beginning += data
        beginning = read_beginning(bytes(self._beginning))
        if beginning is None:
            if len(self._beginning) > MAX_HEADER_BYTES:
                raise InvalidAudio("the WAV file has no samples in its first 64 KiB")
            return b""
        return self._begin(beginning)

    def finish(self) -> bytes:
        """What is left when no more comes: a few bytes may have looked like a header's first."""
        if not self._beginning:
            return b""
        return self._begin(Beginning(None, 0, sys.maxsize))

    def _begin(self, beginning: Beginning) -> bytes:
        assert self._beginning is not None
        data = bytes(self._beginning[beginning.samples_at :])
        self._beginning = None
        self._bytes_left = beginning.samples_bytes
        self._check_against_config(beginning.format)
        return self._cut(data)

    def _check_against_config(self, found: AudioFormat | None) -> None:
        if found is None:
            # Riva too takes what is not named for 16-bit samples.
            self.format = self.format or self._assume_linear_pcm()
            return
        rate = self._rate if found.sample_rate_hertz else 0
        said = AudioFormat(self._encoding or found.encoding, rate or found.sample_rate_hertz)
        if said != found:
            raise InvalidAudio(f"the config says {said}, but the audio begins as {found}")
        self.format = found

    def _assume_linear_pcm(self) -> AudioFormat:
        if not self._rate:
            raise InvalidOptions(
                "config.sample_rate_hertz",
                "config.sample_rate_hertz is not given, and no header of the audio says it",
            )
        return AudioFormat(self._encoding or "pcm_s16le", self._rate)

    def _decode_format(self) -> AudioFormat | None:
        if self._encoding == "ogg_opus":
            return AudioFormat(self._encoding, 0)
        if self._encoding and self._rate:
            return AudioFormat(self._encoding, self._rate)
        return None

    def _cut(self, data: bytes) -> bytes:
        # What follows the samples of a WAV file is no sound.
        samples = data[: self._bytes_left]
        self._bytes_left -= len(samples)
        return samples


def decode_encoding(encoding: riva_audio_pb2.AudioEncoding.ValueType) -> str | None:
    """Our name of an encoding; None if it is left to the audio to say."""
    if encoding == riva_audio_pb2.ENCODING_UNSPECIFIED:
        return None
    if encoding not in ENCODINGS:
        known = ", ".join(map(riva_audio_pb2.AudioEncoding.Name, ENCODINGS))
        name = "FLAC" if encoding == riva_audio_pb2.FLAC else str(encoding)
        raise InvalidOptions(
            "config.encoding", f"config.encoding is {name}, which is not served; send {known}"
        )
    return ENCODINGS[encoding]


def read_beginning(data: bytes) -> Beginning | None:
    """What the first bytes say; None while there are too few. Raises InvalidAudio."""
    magics = (b"RIFF", b"OggS", b"fLaC")
    if not data or any(magic.startswith(data) and data != magic for magic in magics):
        return None
    if data.startswith(b"fLaC"):
        raise InvalidAudio("the audio is FLAC, which is not served; send LINEAR_PCM or OGGOPUS")
    if data.startswith(b"OggS"):
        return Beginning(AudioFormat("ogg_opus", 0), 0, sys.maxsize)
    if not data.startswith(b"RIFF"):
        return Beginning(None, 0, sys.maxsize)
    if len(data) < _RIFF.size:
        return None
    return _read_wav(data) if data[8:12] == b"WAVE" else Beginning(None, 0, sys.maxsize)


def _read_wav(data: bytes) -> Beginning | None:
    found: AudioFormat | None = None
    at = _RIFF.size
    while at + _CHUNK.size <= len(data):
        name, size = _CHUNK.unpack_from(data, at)
        at += _CHUNK.size
        if name == b"data":
            if found is None:
                raise InvalidAudio("the WAV file does not say how its samples are written")
            return Beginning(found, at, size if 0 < size < _UNKNOWN_SIZE else sys.maxsize)
        if name == b"fmt " and at + size <= len(data):
            found = _read_wav_format(data[at : at + size])
        # Chunks begin at even places.
        at += size + size % 2
    return None


def _read_wav_format(chunk: bytes) -> AudioFormat:
    if len(chunk) < _FORMAT.size:
        raise InvalidAudio("the WAV file does not say how its samples are written")
    tag, channels, rate, _, _, bits = _FORMAT.unpack_from(chunk)
    if tag == _EXTENSIBLE and len(chunk) >= _SUBFORMAT_AT + 2:
        (tag,) = struct.unpack_from("<H", chunk, _SUBFORMAT_AT)
    encoding = _WAV_ENCODINGS.get((tag, bits))
    if encoding is None or channels != 1:
        raise InvalidAudio(
            f"the WAV file has {channels} channel(s) of {bits}-bit samples in format {tag}; "
            "send mono: 16-bit, 32-bit float, mu-law or A-law"
        )
    return AudioFormat(encoding, rate)
