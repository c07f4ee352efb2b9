"""What moshi-server answers over HTTP beside its WebSocket, as JSON values."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.protocols.messages import Json, to_seconds
from stt.v1 import stt_pb2

BUILD_INFO_PATH = "/api/build_info"
RECORDINGS_PATH = "/api/asr-streaming"
"""To POST a recording to, where its WebSockets connect."""
MODULES_INFO_PATH = "/api/modules_info"


def encode_build_info(info: stt_pb2.GetServerInfoResponse) -> Json:
    """`/api/build_info`. A service in Python has no build: its version stands for it."""
    names = (
        "build_timestamp",
        "build_date",
        "git_branch",
        "git_timestamp",
        "git_date",
        "git_hash",
        "git_describe",
        "rustc_host_triple",
        "rustc_version",
        "cargo_target_triple",
    )
    return {name: info.version if name == "git_describe" else "" for name in names}


def encode_modules_info(info: stt_pb2.GetServerInfoResponse) -> list[Json]:
    """`/api/modules_info`: the one module, and how many of its slots are used, all as strings."""
    return [
        {
            "type": "batched_asr",
            "path": RECORDINGS_PATH,
            "lm": info.model_name,
            "audio_tokenizer": info.model_name,
            "used_slots": str(info.slots_total - info.slots_free),
            "total_slots": str(info.slots_total),
        }
    ]


def encode_transcript(words: Iterable[stt_pb2.Word]) -> list[Json]:
    """The answer to a recording that was POSTed."""
    messages: list[Json] = []
    for word in words:
        start_s, end_s = to_seconds(word.start_offset), to_seconds(word.end_offset)
        messages.append({"type": "Word", "text": word.text, "start_time": start_s})
        messages.append({"type": "EndWord", "stop_time": end_s})
    return messages


def encode_failure(message: str) -> list[Json]:
    """The answer where a recording could not be transcribed."""
    return [{"type": "Error", "message": message}]
