"""Which error a status is: by its reason, and without one by gRPC core's message."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from client.rpc.errors import (
    CLASSES,
    Idle,
    InvalidAudio,
    InvalidRequest,
    MessageTooLarge,
    ServerDraining,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    SlowConsumer,
    SttError,
    Unauthenticated,
    error_from_reason,
    error_from_rpc,
    status_is_from_the_service,
)
from client.rpc.reasons import Reason
from stt.v1 import stt_pb2
from tests.unit.client.rpc.http2_edge import HttpEdge

CLASS_OF = {
    "INVALID_REQUEST": InvalidRequest,
    "INVALID_AUDIO": InvalidAudio,
    "MESSAGE_TOO_LARGE": MessageTooLarge,
    "NO_FREE_SLOT": ServerFull,
    "WARMING_UP": ServerUnavailable,
    "DRAINING": ServerDraining,
    "IDLE_TIMEOUT": Idle,
    "SLOW_CONSUMER": SlowConsumer,
    "ENGINE_DIED": ServerFailed,
    "INTERNAL": ServerFailed,
    "OVERLOADED": ServerFull,
    "UNAUTHENTICATED": Unauthenticated,
    "TOO_MANY_SESSIONS": ServerFull,
}
NAMES = [name.removeprefix("ERROR_REASON_") for name in stt_pb2.ErrorReason.keys()[1:]]


def status(
    code: grpc.StatusCode, text: str, reason: str | None = None, domain: str = "stt.v1"
) -> grpc.aio.AioRpcError:
    details = status_pb2.Status(code=code.value[0], message=text)
    if reason is not None:
        info = error_details_pb2.ErrorInfo(reason=reason, domain=domain)
        details.details.add().Pack(info)
    trailers = grpc.aio.Metadata(("grpc-status-details-bin", details.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, text)


def test_every_reason_of_the_contract_has_a_class() -> None:
    assert list(CLASS_OF) == NAMES
    assert [CLASSES[name] for name in NAMES] == list(CLASS_OF.values())
    assert set(CLASSES) == set(Reason)


@given(
    name=st.sampled_from(NAMES),
    code=st.sampled_from([code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]),
    text=st.text(max_size=40),
)
@example("ENGINE_DIED", grpc.StatusCode.INTERNAL, "Received http2 header with status: 429")
@example("INTERNAL", grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
@example("INVALID_REQUEST", grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max")
def test_the_reason_decides_and_neither_code_nor_text(
    name: str, code: grpc.StatusCode, text: str
) -> None:
    rpc_error = status(code, text, name)
    error = error_from_rpc(rpc_error)

    assert type(error) is CLASS_OF[name]
    assert error.reason == name
    # To credentials that were refused is added what to do about them.
    assert text in str(error) if name == "UNAUTHENTICATED" else str(error) == text
    assert status_is_from_the_service(rpc_error)


def test_what_a_gateway_was_told_of_a_key_is_not_told_twice() -> None:
    told = error_from_rpc(status(grpc.StatusCode.UNAUTHENTICATED, "no", "UNAUTHENTICATED"))
    again = error_from_reason("UNAUTHENTICATED", str(told))
    assert str(again) == str(told)
    assert "Export MODAL_KEY" in str(told)


def test_a_reason_of_a_newer_service_is_told_and_the_code_decides() -> None:
    error = error_from_rpc(status(grpc.StatusCode.UNAVAILABLE, "failed to connect", "MARS"))

    assert type(error) is ServerUnavailable
    assert error.reason == "MARS"


def test_a_reason_of_another_service_is_none_of_ours() -> None:
    stranger = status(grpc.StatusCode.INTERNAL, "no", "DRAINING", domain="example.com")

    assert type(error_from_rpc(stranger)) is ServerFailed
    assert error_from_rpc(stranger).reason is None


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, ServerFull),
        (grpc.StatusCode.UNAVAILABLE, ServerUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ServerUnavailable),
        (grpc.StatusCode.INTERNAL, ServerFailed),
        (grpc.StatusCode.UNKNOWN, ServerFailed),
    ],
)
def test_a_status_without_a_reason_means_what_its_code_says(
    code: grpc.StatusCode, wanted: type[SttError]
) -> None:
    error = error_from_rpc(status(code, "somebody on the way"))

    assert type(error) is wanted
    assert error.reason is None


async def call_once(target: str, request: bytes = b"") -> grpc.aio.AioRpcError:
    async with grpc.aio.insecure_channel(target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/stt.v1.SpeechToTextService/Transcribe")(request, timeout=10)
    return caught.value


async def test_grpc_core_refuses_a_large_message_in_its_own_words() -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 1_000)])
    handler = grpc.unary_unary_rpc_method_handler(lambda *_: b"")
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "stt.v1.SpeechToTextService", {"Transcribe": handler}
            ),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    error = error_from_rpc(await call_once(f"127.0.0.1:{port}", bytes(1_001)))
    await server.stop(None)

    assert type(error) is MessageTooLarge
    assert "smaller messages" in str(error)
    assert error.reason is None


# RFC 9113 section 7: NO_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM.
@pytest.mark.parametrize("error_code", [0, 2, 7, 8, 11])
async def test_a_stream_that_is_reset_is_a_connection_that_broke(error_code: int) -> None:
    async with HttpEdge(200) as edge:
        edge.answer = lambda connection, stream_id: connection.reset_stream(stream_id, error_code)
        rpc_error = await call_once(edge.endpoint.target)

    assert type(error_from_rpc(rpc_error)) is ServerUnavailable, rpc_error
    assert not status_is_from_the_service(rpc_error)
