"""Calls with the generated stubs, as a client of the wire contract makes them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from client.rpc.writing import finish_writing, write_request
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.interleaving import become

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse


def request_config(**fields: Any) -> Request:
    return Request(config=stt_pb2.StreamingConfig(**fields))


def request_audio(audio: bytes) -> Request:
    return Request(audio=audio)


def split(data: bytes, size: int) -> list[bytes]:
    return [data[n : n + size] for n in range(0, len(data), size)]


async def converse(call: Any, requests: Sequence[Message], pause_s: float = 0.0) -> list[Any]:
    """All responses to these requests, half-closed at the end. Raises AioRpcError: the service's
    own, which grpc.aio loses where it writes itself to a call that is being ended."""

    async def write() -> None:
        for request in requests:
            if not await write_request(call, request):
                return
            await asyncio.sleep(pause_s)
        await finish_writing(call)

    writing = asyncio.create_task(write())
    try:
        return [response async for response in call]
    finally:
        writing.cancel()


async def stream(
    channel: grpc.aio.Channel, requests: Sequence[Request], pause_s: float = 0.0
) -> list[Response]:
    """All responses to these requests, half-closed at the end. Raises AioRpcError."""
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe()
    return await converse(call, requests, pause_s)


async def count_free_slots(channel: grpc.aio.Channel) -> int:
    stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
    return (await stub.GetServerInfo(stt_pb2.GetServerInfoRequest())).slots_free


async def become_free(channel: grpc.aio.Channel, slots: int, patience_s: float = 10) -> None:
    """Wait until so many slots are free."""
    free = None

    async def are_free() -> bool:
        nonlocal free
        free = await count_free_slots(channel)
        return free == slots

    await become(are_free, lambda: f"{free} slots are free, not {slots}", patience_s)


def texts(responses: Sequence[Response]) -> str:
    return "".join(r.token.text for r in responses if r.HasField("token"))


def kinds(responses: Sequence[Response]) -> list[str]:
    return [str(r.WhichOneof("event")) for r in responses]


def details(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """The google.rpc details of an error, by their type's name."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
            return {any_.TypeName(): any_ for any_ in status.details}
    return {}


def reason(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo's reason; empty without one."""
    info = error_details_pb2.ErrorInfo()
    detail = details(error).get("google.rpc.ErrorInfo")
    if detail is not None:
        detail.Unpack(info)
    return info.reason
