"""What is fuzzed: each function takes any bytes and returns, unless something is wrong.

Errors that a caller is told about are caught; every other exception is a finding.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice

import numpy as np
from google.protobuf.message import DecodeError

from gateway.protocols.codec import End, ProtocolError
from gateway.protocols.documented import decode_command
from gateway.protocols.documented_query import asks_for_events, parse_query
from gateway.protocols.messages import to_text
from stt.v1 import stt_pb2
from stt_service.engine.errors import InvalidAudio, InvalidOptions
from stt_service.engine.frames import Framer
from stt_service.engine.ogg import CHECKSUM, HEADER, checksum
from stt_service.translation import decode_options, decode_recording_options, encode_status
from tests.fuzz.protocols import DOORS, SEEDS, make_target
from tests.ogg_files import FIREFOX, LIVE, Layout, encode_opus, write_ogg
from tests.unit.engine.models import FRAME_SAMPLES, SAMPLE_RATE_HERTZ, make_info

MODEL = make_info()
ENCODINGS = ("pcm_f32le", "pcm_s16le", "mulaw", "alaw")
RATES_HERTZ = (8_000, 16_000, 24_000, 44_100)
# A bomb is audio without an end, and only its beginning is of interest.
MAX_CHUNKS = 40


def fuzz_query(data: bytes) -> None:
    """The query string of a WebSocket; what the gateway understands, the service does too."""
    query = data.decode("latin-1")
    asks_for_events(query)
    try:
        options = parse_query(query)
    except ProtocolError as error:
        to_text({"message": str(error)}).encode()
        return
    decode_options(options.config)
    open_like_the_service(stt_pb2.StreamingConfig.FromString(options.config.SerializeToString()))


def fuzz_command(data: bytes) -> None:
    """A text message of a WebSocket."""
    try:
        command = decode_command(data.decode(errors="replace"))
    except ProtocolError as error:
        to_text({"message": str(error)}).encode()
        return
    if not isinstance(command, End):
        command.SerializeToString()


def fuzz_request(data: bytes) -> None:
    """The bytes of gRPC requests."""
    with suppress(DecodeError):
        request = stt_pb2.StreamingTranscribeRequest.FromString(data)
        open_like_the_service(request.config)
    with suppress(DecodeError):
        recording = stt_pb2.TranscribeRequest.FromString(data)
        with suppress(InvalidOptions):
            decode_recording_options(recording.config)


def fuzz_pcm(data: bytes) -> None:
    """Audio in every encoding but Opus; the first three bytes choose it, its rate and messages."""
    kind, rate, size = data[:3].ljust(3, b"\0")
    framer = Framer(
        ENCODINGS[kind % len(ENCODINGS)],
        RATES_HERTZ[rate % len(RATES_HERTZ)],
        SAMPLE_RATE_HERTZ,
        FRAME_SAMPLES,
    )
    push(framer, split(data[3:], 1 + size * 16))


def fuzz_opus(data: bytes) -> None:
    """Ogg Opus; the first two bytes choose whether checksums are made right, and messages."""
    repairs, size = data[:2].ljust(2, b"\0")
    audio = repair_checksums(data[2:]) if repairs % 4 else data[2:]
    framer = Framer("ogg_opus", SAMPLE_RATE_HERTZ, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)
    push(framer, split(audio, 1 + size * 64))


def open_like_the_service(config: stt_pb2.StreamingConfig) -> None:
    """A config of anybody's becomes a session's settings, or an error with a status."""
    try:
        make_framer(config)
    except InvalidOptions as error:
        encode_status(error)[1].SerializeToString()


def make_framer(config: stt_pb2.StreamingConfig) -> Framer:
    options = decode_options(config)
    options.vad.check_against(MODEL)
    assert 0 < options.resolve_stall_timeout_s(MODEL) < math.inf, options
    rate_hertz = options.sample_rate_hertz or SAMPLE_RATE_HERTZ
    return Framer(options.encoding, rate_hertz, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)


def push(framer: Framer, messages: Iterator[bytes]) -> None:
    """Everything becomes whole frames of finite samples, or is named."""
    try:
        pieces = (piece for message in messages for piece in framer.push(message))
        frames = [frame for piece in islice(pieces, MAX_CHUNKS) for frame in piece]
        frames += framer.cut_rest()
    except InvalidAudio as error:
        encode_status(error)[1].SerializeToString()
        return
    for frame in frames:
        assert frame.pcm.shape == (FRAME_SAMPLES,) and frame.pcm.dtype == np.float32
        assert np.isfinite(frame.pcm).all()
        assert 0 < frame.audio_samples <= FRAME_SAMPLES


def split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


def repair_checksums(data: bytes) -> bytes:
    """Give every page its right checksum, so that what a fuzzer changes is not just skipped."""
    repaired = bytearray(data)
    start = repaired.find(b"OggS")
    while 0 <= start <= len(repaired) - HEADER.size:
        body = start + HEADER.size + repaired[start + HEADER.size - 1]
        end = body + sum(repaired[start + HEADER.size : body])
        page = bytes(repaired[start:end])
        crc = checksum(page[: CHECKSUM.start] + bytes(4) + page[CHECKSUM.stop :])
        repaired[start + CHECKSUM.start : start + CHECKSUM.stop] = crc.to_bytes(4, "little")
        start = repaired.find(b"OggS", max(end, start + 1))
    return bytes(repaired)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "query": fuzz_query,
    "command": fuzz_command,
    "request": fuzz_request,
    "pcm": fuzz_pcm,
    "opus": fuzz_opus,
    **{name: make_target(door, make_framer, text) for name, (door, text) in DOORS.items()},
}


def seeds(name: str) -> list[bytes]:
    """Inputs that are well-formed, for the fuzzer to change."""
    match name:
        case "query":
            return [
                b"events=word,final&encoding=pcm_s16le&sample_rate=16000&timing=1",
                b"vad_threshold=0.5&pause_seconds=1&idle_timeout=2.5&stall_timeout=1",
            ]
        case "command":
            return [b'{"type":"flush","flush_id":"1"}', b'{"type":"end"}', b'{"type":"\\ud800"}']
        case "request":
            config = parse_query("sample_rate=8000&idle_timeout=1&vad_threshold=0.3").config
            requests = [
                stt_pb2.StreamingTranscribeRequest(config=config),
                stt_pb2.StreamingTranscribeRequest(audio=b"\0" * 8),
                stt_pb2.TranscribeRequest(config=config, audio=b"\0" * 8),
            ]
            return [request.SerializeToString() for request in requests]
        case "pcm":
            samples = np.sin(np.arange(2_000)).astype("<f4")
            return [bytes([kind, kind, 40]) + samples.tobytes() for kind in range(4)]
        case protocol if protocol in SEEDS:
            return SEEDS[protocol]
        case _:
            audio = encode_opus(np.sin(np.arange(4_800)), 24_000, bit_rate=16_000)
            layouts = [LIVE, FIREFOX, Layout(segments_per_page=3), Layout(gain_q8_db=1_000)]
            files = [write_ogg(audio, layout) for layout in layouts]
            return [bytes([1, 4]) + file for file in [*files, files[0] + files[1]]]
