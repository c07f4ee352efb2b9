"""Makes up what strangers send to a gateway: to each of its doors, and as recordings by POST."""

from __future__ import annotations

import base64
import json
import random
import struct
from dataclasses import dataclass
from typing import Any

import msgpack

from gateway.protocols import DOORS, documented, gradium, moshi_server, openai_realtime
from gateway.protocols.codec import Door
from gateway.protocols.moshi_http import RECORDINGS_PATH
from tests.integration.mutation import mutate

MASK = bytes(4)
TEXT, BINARY = 1, 2
NAMES = ("", "x", "\0", "ä", "flush", "audio/pcm", "x" * 300)
NUMBERS = (0, 1, -1, 0.5, 2.5, 24_000, 2**31, 2**64, 1e300, None, True)
QUERIES = (
    "events=word,final,ready&timing=1",
    "encoding=pcm_s16le&sample_rate=16000&events=flushed,step",
    "encoding=ogg_opus&events=utterance",
    "encoding=mulaw&sample_rate=8000&vad_threshold=0.5&pause_seconds=1",
    "idle_timeout=2.5&stall_timeout=0.5",
    "model=whisper-1&intent=transcription",
)
INPUT_FORMATS = ("pcm", "pcm_8000", "pcm_48000", "pcm_7", "wav", "opus", "mulaw_8000", "mp3", 7)
OPENAI_FORMATS = ("audio/pcm", "audio/pcmu", "audio/pcma", "audio/mp3", 1, None)
BEGINNINGS = (b"", b"RIFF", b"OggS", b"fLaC")


@dataclass(frozen=True)
class Visit:
    """One WebSocket, or one request."""

    door: str
    """Its name, for the count."""
    request: bytes
    """The handshake, or the whole of the request."""
    frames: tuple[bytes, ...] = ()
    """Of the WebSocket."""
    is_broken: bool = False
    """Whether the frames may be none, so that nothing behind them is understood."""
    ends: bool = False
    """Whether the client says in its protocol that it has ended, and waits for the close."""
    lingers: bool = False
    """Whether it waits for a moment behind its first frame and its last: it may be admitted."""

    @property
    def inputs(self) -> int:
        """How many things there were to understand: each message, or the request."""
        return max(1, len(self.frames))


class DoorInventor:
    """The same visits for the same seed."""

    def __init__(self, seed: int, address: str) -> None:
        self._random = random.Random(seed)
        self._address = address

    def visit(self) -> Visit:
        """The next visit, and what it sends."""
        if self._random.random() < 0.1:
            return Visit("POST", self._recording())
        door = self._random.choice(DOORS)
        handshake = self._handshake(door)
        first = self._begin(door)
        messages = [first] if first is not None else []
        messages += [self._message(door) for _ in range(self._random.randrange(10))]
        frames = [self._frame(message) for message in messages]
        is_broken = self._random.random() < 0.1
        if is_broken:
            frames = [mutate(self._random, frame) for frame in frames]
        end = None if is_broken or self._random.random() < 0.7 else self._end(door)
        if end is not None:
            frames.append(encode_frame(end))
        return Visit(
            *(door.name, handshake, tuple(frames)),
            is_broken=is_broken,
            ends=end is not None,
            lingers=self._random.random() < 0.5,
        )

    def _handshake(self, door: Door) -> bytes:
        query = self._random.choice(("", "", *QUERIES))
        if self._random.random() < 0.2:
            query = mutate(self._random, query.encode()).decode("latin-1")
        lines = [
            f"GET {door.paths[0]}{'?' + query if query else ''} HTTP/1.1",
            f"Host: {self._address}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            self._random.choice(("X-Api-Key: x", "OpenAI-Beta: realtime=v1", "Accept: */*")),
        ]
        head = "\r\n".join(lines).encode("latin-1")
        return (mutate(self._random, head) if self._random.random() < 0.05 else head) + b"\r\n\r\n"

    def _recording(self) -> bytes:
        body = self._audio(3000)
        if self._random.random() < 0.5:
            body = mutate(self._random, wav_header(self._random.choice((1, 3, 6, 7)))) + body
        head = (
            f"POST {RECORDINGS_PATH} HTTP/1.1\r\nHost: {self._address}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode() + body

    def _frame(self, message: str | bytes) -> bytes:
        """A message as it stands, or changed, in one frame or two."""
        data = message.encode(errors="surrogatepass") if isinstance(message, str) else message
        opcode = TEXT if isinstance(message, str) else BINARY
        if self._random.random() < 0.25:
            data = mutate(self._random, data)
        if self._random.random() < 0.1:
            half = len(data) // 2
            return encode_frame(data[:half], opcode, fin=0) + encode_frame(data[half:], 0)
        return encode_frame(data, opcode)

    def _begin(self, door: Door) -> str | None:
        """What a door wants first; now and then it does not get it."""
        if self._random.random() < 0.1:
            return None
        match door:
            case gradium.DOOR:
                return json.dumps({"type": "setup", **self._some("input_format", INPUT_FORMATS)})
            case openai_realtime.DOOR:
                return json.dumps(self._update())
            case _:
                return None

    def _message(self, door: Door) -> str | bytes:
        if self._random.random() < 0.05:
            noise = self._random.randbytes(self._random.randrange(100))
            return self._random.choice((noise, noise.decode("latin-1")))
        match door:
            case documented.DOOR:
                return self._documented()
            case moshi_server.DOOR:
                return self._moshi()
            case gradium.DOOR:
                return self._gradium()
            case _:
                return self._openai()

    def _documented(self) -> str | bytes:
        pick = self._random.choice
        match pick(("audio", "audio", "audio", "flush", "vad")):
            case "audio":
                return self._audio(3000)
            case "flush":
                return json.dumps({"type": "flush", **self._some("flush_id", NAMES + NUMBERS)})
            case _:
                vad = self._some("pause_seconds", NUMBERS) | self._some("threshold", NUMBERS)
                return json.dumps({"type": "vad", **vad})

    def _moshi(self) -> bytes:
        pick = self._random.choice
        match pick(("Audio", "Audio", "OggOpus", "Marker", "Init", "Else")):
            case "Audio":
                samples = [pick(NUMBERS[:5]) for _ in range(self._random.randrange(300))]
                return pack(type="Audio", pcm=samples)
            case "OggOpus":
                return pack(type="OggOpus", data=self._audio(500))
            case "Marker":
                return pack(type="Marker", id=pick((0, 1, -1, 2**63 - 1, 1.5, "x", None)))
            case kind:
                return pack(type=kind, **self._some("data", NUMBERS[:5] + NAMES))

    def _gradium(self) -> str:
        match self._random.choice(("audio", "audio", "flush", "setup")):
            case "audio":
                return json.dumps({"type": "audio", "audio": self._base64()})
            case "flush":
                return json.dumps({"type": "flush", **self._some("flush_id", NAMES + NUMBERS)})
            case kind:
                return json.dumps({"type": kind, **self._some("input_format", INPUT_FORMATS)})

    def _openai(self) -> str:
        match self._random.choice(("append", "append", "commit", "clear", "update")):
            case "append":
                return json.dumps({"type": "input_audio_buffer.append", "audio": self._base64()})
            case "update":
                return json.dumps(self._update())
            case kind:
                event = {"type": f"input_audio_buffer.{kind}"}
                return json.dumps(event | self._some("event_id", NAMES + NUMBERS))

    def _update(self) -> dict[str, Any]:
        pick = self._random.choice
        detection = pick((None, {"type": pick(("server_vad", "semantic_vad", "x", 7))}))
        if detection is not None:
            detection |= self._some("silence_duration_ms", NUMBERS)
        if self._random.random() < 0.3:
            session = self._some("input_audio_format", ("pcm16", "g711_ulaw", "x", 7))
            session["turn_detection"] = detection
            return {"type": "transcription_session.update", "session": session}
        coding = self._some("type", OPENAI_FORMATS) | self._some("rate", NUMBERS)
        audio = {"input": {"format": coding, "turn_detection": detection}}
        return {"type": "session.update", "session": {"type": "transcription", "audio": audio}}

    def _end(self, door: Door) -> str | None:
        match door:
            case documented.DOOR:
                return '{"type":"end"}'
            case gradium.DOOR:
                return '{"type":"end_of_stream"}'
            case _:
                return None

    def _audio(self, most_bytes: int) -> bytes:
        """Small samples of one kind or another, or noise behind the beginning of a format."""
        count = self._random.randrange(most_bytes)
        if self._random.random() < 0.5:
            return struct.pack("<f", 0.25) * (count // 4)
        return self._random.choice(BEGINNINGS) + self._random.randbytes(count)

    def _base64(self) -> object:
        if self._random.random() < 0.1:
            return self._random.choice(NAMES + NUMBERS)
        begin = wav_header(1) if self._random.random() < 0.2 else b""
        return base64.b64encode(begin + self._audio(1000)).decode()

    def _some(self, name: str, values: tuple[Any, ...]) -> dict[str, Any]:
        """A field with one of the values, or without."""
        return {name: self._random.choice(values)} if self._random.random() < 0.8 else {}


def encode_frame(data: str | bytes, opcode: int = TEXT, *, fin: int = 0x80) -> bytes:
    """A client's WebSocket frame, with a mask of zeros."""
    data = data.encode() if isinstance(data, str) else data
    if len(data) < 126:
        return bytes([fin | opcode, 0x80 | len(data)]) + MASK + data
    return bytes([fin | opcode, 0xFE]) + struct.pack(">H", len(data)) + MASK + data


def wav_header(coding: int) -> bytes:
    """A header of WAV without an end, for mono at 8 kHz; `coding` 1 is PCM of 16 bits."""
    fields = struct.pack("<HHIIHH", coding, 1, 8000, 16_000, 2, 16)
    endless = b"\xff" * 4
    return b"RIFF" + endless + b"WAVEfmt " + struct.pack("<I", 16) + fields + b"data" + endless


def pack(**fields: Any) -> bytes:
    """A message of moshi-server."""
    return msgpack.packb(fields, use_single_float=True)
