"""The MessagePack messages of moshi-server: one map each, with string keys in any order.

An array of samples is what costs: its elements may be float32, float64 or integers, each with its
own tag. Where all tags are equal, numpy reads them in place; a mixed array goes through Python
objects. No length is believed before the bytes for it are there, and no nesting is unpacked.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgpack as untyped_msgpack
import numpy as np

from gateway.protocols.codec import ProtocolError

# The package has no types.
msgpack: Any = untyped_msgpack

MAX_MIXED_SAMPLES = 20 * 24_000
"""Most elements of an array with mixed tags: 20 s, which take 50 ms."""

_MAX_TEXT = 64
_MIN_ID, _MAX_ID = -(2**63), 2**63 - 1
_LOWEST_FIXINT = -32
# Arrays whose elements all have the same tag, as the MessagePack specification lays them out.
_TAGGED = {
    0xCA: np.dtype([("tag", "u1"), ("value", ">f4")]),
    0xCB: np.dtype([("tag", "u1"), ("value", ">f8")]),
}


@dataclass(frozen=True, slots=True)
class Audio:
    """Samples at 24 kHz, as float32 little-endian bytes."""

    pcm_f32le: bytes


@dataclass(frozen=True, slots=True)
class OggOpus:
    """Part of an Ogg Opus stream."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Marker:
    """To be sent back when everything before it was transcribed."""

    id: int


@dataclass(frozen=True, slots=True)
class Init:
    """Means nothing any more."""


InMessage = Audio | OggOpus | Marker | Init


def decode_message(message: bytes) -> InMessage:
    """Read one message of a client. Raises `ProtocolError`."""
    try:
        fields = _read_fields(message)
    except (msgpack.UnpackException, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, ProtocolError):
            raise
        why = str(error).rstrip(".") or "bad format"
        raise ProtocolError(f"A message is not a map in MessagePack: {why}.") from error
    match fields:
        case {"type": "Audio", "pcm": bytes(pcm)}:
            return Audio(pcm)
        case {"type": "OggOpus", "data": bytes(data)}:
            return OggOpus(data)
        case {"type": "Marker", "id": int(number)} if _is_id(number):
            return Marker(number)
        case {"type": "Init"}:
            return Init()
        case _:
            raise ProtocolError(
                'A message must be {"type": "Audio", "pcm": [numbers]}, '
                '{"type": "OggOpus", "data": [bytes]} or {"type": "Marker", "id": integer}.'
            )


def encode_message(kind: str, **fields: Any) -> bytes:
    """A message of the server; floats are float64."""
    return msgpack.packb({"type": kind, **fields})


def encode_step(index: int, probabilities: list[float], buffered_samples: int) -> bytes:
    """A Step, whose floats are float32: typed clients insist on that."""
    step = {
        "type": "Step",
        "step_idx": index,
        "prs": probabilities,
        "buffered_pcm": buffered_samples,
    }
    return msgpack.packb(step, use_single_float=True)


def _is_id(number: int) -> bool:
    return not isinstance(number, bool) and _MIN_ID <= number <= _MAX_ID


def _read_fields(message: bytes) -> dict[str, Any]:
    """The fields that mean something; others are skipped."""
    unpacker = msgpack.Unpacker(
        max_buffer_size=max(1, len(message)),
        max_str_len=_MAX_TEXT,
        max_bin_len=len(message),
        max_array_len=0,
        max_map_len=0,
        max_ext_len=0,
    )
    unpacker.feed(message)
    fields: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        match key := unpacker.unpack():
            case "pcm":
                fields[key] = _read_samples(unpacker, message)
            case "data":
                fields[key] = _read_bytes(unpacker, message)
            case "type" | "id":
                fields[key] = unpacker.unpack()
            case _:
                unpacker.skip()
    return fields


def _read_samples(unpacker: Any, message: bytes) -> bytes:
    """An array of numbers as float32 little-endian."""
    count = _read_count(unpacker, message)
    if not count:
        return b""
    start: int = unpacker.tell()
    tag = message[start]
    if (layout := _TAGGED.get(tag)) is not None and count * layout.itemsize <= len(message) - start:
        elements = np.frombuffer(message, layout, count, start)
        if (elements["tag"] == tag).all():
            unpacker.read_bytes(count * layout.itemsize)
            return _to_bytes(elements["value"])
    # Integers from -32 to 127 are their own tag: read as signed bytes, they are their value.
    integers = np.frombuffer(message, np.int8, count, start)
    if (integers >= _LOWEST_FIXINT).all():
        unpacker.read_bytes(count)
        return _to_bytes(integers)
    if count > MAX_MIXED_SAMPLES:
        raise ProtocolError(
            f"An Audio message of numbers of several types holds more than {MAX_MIXED_SAMPLES:,}. "
            "Send float32 only, or smaller messages."
        )
    # Unlike numpy, an array makes no numbers of strings and None.
    mixed = array("d", islice(unpacker, count))
    if len(mixed) < count:
        raise ValueError("an array is cut off")
    return _to_bytes(np.frombuffer(mixed))


def _read_bytes(unpacker: Any, message: bytes) -> bytes:
    """Bytes as such, or as an array of integers."""
    start: int = unpacker.tell()
    if message[start : start + 1] in (b"\xc4", b"\xc5", b"\xc6"):
        return unpacker.unpack()
    count = _read_count(unpacker, message)
    data = bytes(islice(unpacker, count))
    if len(data) < count:
        raise ValueError("an array is cut off")
    return data


def _read_count(unpacker: Any, message: bytes) -> int:
    """The length of an array, which cannot have more elements than the message has bytes."""
    count: int = unpacker.read_array_header()
    if count > len(message) - unpacker.tell():
        raise ValueError("an array is cut off")
    return count


def _to_bytes(samples: np.ndarray[Any, Any]) -> bytes:
    # What float32 cannot hold becomes infinite, and the service says what is wrong with that.
    with np.errstate(over="ignore", invalid="ignore"):
        return samples.astype("<f4").tobytes()
