"""Reaching the service: against real grpc.aio servers and a plain HTTP/2 edge on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.protobuf import duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from client.rpc.channel import (
    SERVICE_NAME,
    Credentials,
    Endpoint,
    check_serving,
    find_true_error,
    open_channel,
    wait_until_serving,
)
from client.rpc.errors import (
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    Unauthenticated,
    error_from_rpc,
)
from client.rpc.retry import Patience, Waiting
from client.rpc.writing import write_request
from stt.v1 import stt_pb2, stt_pb2_grpc
from tests.unit.client.rpc.http2_edge import HttpEdge, grpc_ok

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Speech(stt_pb2_grpc.SpeechToTextServiceServicer):
    """A service whose stream ends as a test says."""

    def __init__(self, end: Callable[[grpc.aio.ServicerContext], None] | None = None) -> None:
        self._end = end
        self.metadata: dict[str, str] = {}

    async def StreamingTranscribe(self, request_iterator, context):
        self.metadata = dict(context.invocation_metadata())
        assert self._end is not None
        await self._end(context)
        yield stt_pb2.StreamingTranscribeResponse()


@contextlib.asynccontextmanager
async def serving(
    servicer: Speech | None = None,
) -> AsyncIterator[tuple[Endpoint, health.aio.HealthServicer]]:
    server = grpc.aio.server()
    checks = health.aio.HealthServicer()
    await checks.set(SERVICE_NAME, SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    stt_pb2_grpc.add_SpeechToTextServiceServicer_to_server(servicer or Speech(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield Endpoint.parse(f"127.0.0.1:{port}", Credentials("wk-1", "ws-2")), checks
    finally:
        await server.stop(None)


async def stream_error(channel: grpc.aio.Channel, endpoint: Endpoint) -> grpc.aio.AioRpcError:
    call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(
        metadata=endpoint.metadata
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        # `call.write` itself would now and then hide the status of a call that is ending.
        await write_request(call, stt_pb2.StreamingTranscribeRequest())
        await call.read()
    return caught.value


async def test_a_serving_service_is_found_at_once() -> None:
    async with serving() as (endpoint, _), open_channel(endpoint) as channel:
        await wait_until_serving(channel, endpoint)


async def test_waits_through_not_serving_and_tells() -> None:
    told: list[Waiting] = []
    async with serving() as (endpoint, checks), open_channel(endpoint) as channel:
        await checks.set(SERVICE_NAME, NOT_SERVING)

        async def on_wait(waiting: Waiting) -> None:
            told.append(waiting)
            if len(told) == 3:
                await checks.set(SERVICE_NAME, SERVING)

        await wait_until_serving(channel, endpoint, on_wait=on_wait)

    assert len(told) == 3
    assert all(isinstance(waiting.reason, ServerUnavailable) for waiting in told)
    assert told[0].waited_s < told[1].waited_s < told[2].waited_s


async def test_patience_ends_with_the_true_reason() -> None:
    async with serving() as (endpoint, checks), open_channel(endpoint) as channel:
        await checks.set(SERVICE_NAME, NOT_SERVING)
        with pytest.raises(ServerUnavailable, match="starting or draining"):
            await wait_until_serving(channel, endpoint, patience=Patience(starting_s=0.3))


async def test_nothing_listens() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    endpoint = Endpoint.parse(f"127.0.0.1:{port}")
    async with open_channel(endpoint) as channel:
        with pytest.raises(ServerUnreachable, match="Nothing answers"):
            await wait_until_serving(channel, endpoint, patience=Patience(unreachable_s=0.3))


async def test_a_server_that_comes_up_late_is_found() -> None:
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    server = grpc.aio.server()
    checks = health.aio.HealthServicer()
    await checks.set(SERVICE_NAME, SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)

    async def on_wait(waiting: Waiting) -> None:
        if not told:
            assert server.add_insecure_port(f"127.0.0.1:{port}") == port
            await server.start()
        told.append(waiting)

    told: list[Waiting] = []
    endpoint = Endpoint.parse(f"127.0.0.1:{port}")
    async with open_channel(endpoint) as channel:
        await wait_until_serving(channel, endpoint, on_wait=on_wait)
    await server.stop(None)
    assert told


async def test_another_grpc_server_is_no_such_service() -> None:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    endpoint = Endpoint.parse(f"127.0.0.1:{port}")
    async with open_channel(endpoint) as channel:
        with pytest.raises(NoSuchService):
            await wait_until_serving(channel, endpoint)
    await server.stop(None)


@pytest.mark.parametrize(
    ("http_status", "wanted"),
    [
        (200, NoSuchService),
        (301, NoSuchService),
        (307, NoSuchService),
        (400, NoSuchService),
        (401, Unauthenticated),
        (403, NoSuchService),
        (404, NoSuchService),
        (426, NoSuchService),
    ],
)
async def test_an_edge_refusal_that_waiting_does_not_cure_is_raised_at_once(
    http_status: int, wanted: type[SttError]
) -> None:
    async with HttpEdge(http_status) as edge, open_channel(edge.endpoint) as channel:
        with pytest.raises(wanted):
            await wait_until_serving(channel, edge.endpoint, on_wait=pytest.fail)


async def test_a_cold_edge_is_waited_for() -> None:
    async with HttpEdge(503) as edge, open_channel(edge.endpoint) as channel:

        def start_container(waiting: Waiting) -> None:
            assert isinstance(waiting.reason, ServerUnavailable)
            assert "503" in str(waiting.reason)
            edge.answer = grpc_ok(health_pb2.HealthCheckResponse(status=SERVING))

        await wait_until_serving(channel, edge.endpoint, on_wait=start_container)


@pytest.mark.parametrize(
    ("http_status", "wanted"),
    [(401, Unauthenticated), (429, ServerFull), (503, ServerUnavailable)],
)
async def test_a_stream_that_an_edge_refuses_has_its_true_reason_every_time(
    http_status: int, wanted: type[SttError]
) -> None:
    async with HttpEdge(http_status) as edge:
        for _ in range(100):
            async with open_channel(edge.endpoint) as channel:
                rpc_error = await stream_error(channel, edge.endpoint)
                error = await find_true_error(channel, edge.endpoint, rpc_error)
                assert type(error) is wanted, (rpc_error.code(), rpc_error.details())


async def test_a_stream_that_is_reset_while_the_service_answers_is_worth_a_retry() -> None:
    async with HttpEdge(200) as edge, open_channel(edge.endpoint) as channel:
        edge.answer = grpc_ok(health_pb2.HealthCheckResponse(status=SERVING))
        edge.reset_streams = True
        rpc_error = await stream_error(channel, edge.endpoint)
        error = await find_true_error(channel, edge.endpoint, rpc_error)

    assert isinstance(error, ServerUnavailable)
    assert error.retry_after_s


async def test_an_internal_error_of_the_service_itself_stays_one() -> None:
    async def die(context: grpc.aio.ServicerContext) -> None:
        await context.send_initial_metadata((("session-id", "s1"),))
        await context.abort(grpc.StatusCode.INTERNAL, "the model thread died")

    async with serving(Speech(die)) as (endpoint, checks), open_channel(endpoint) as channel:
        rpc_error = await stream_error(channel, endpoint)
        await checks.set(SERVICE_NAME, NOT_SERVING)
        error = await find_true_error(channel, endpoint, rpc_error)

    assert isinstance(error, ServerFailed)
    assert "the model thread died" in str(error)


async def test_credentials_travel_as_metadata() -> None:
    async def refuse(context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no config")

    servicer = Speech(refuse)
    async with serving(servicer) as (endpoint, _), open_channel(endpoint) as channel:
        await stream_error(channel, endpoint)

    assert servicer.metadata["modal-key"] == "wk-1"
    assert servicer.metadata["modal-secret"] == "ws-2"


def packed(code: int, message: str, *details: object) -> object:
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        status.details.add().Pack(detail)
    return rpc_status.to_status(status)


def reason(name: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=name, domain="stt.v1")


async def error_for(status: object) -> SttError:
    async def end(context: grpc.aio.ServicerContext) -> None:
        await context.abort(status.code, status.details, status.trailing_metadata)

    async with serving(Speech(end)) as (endpoint, _), open_channel(endpoint) as channel:
        return error_from_rpc(await stream_error(channel, endpoint))


async def test_a_full_server_says_when_to_come_back() -> None:
    delay = duration_pb2.Duration(seconds=2, nanos=500_000_000)
    error = await error_for(
        packed(
            code_pb2.RESOURCE_EXHAUSTED,
            "All 8 slots are taken.",
            reason("NO_FREE_SLOT"),
            error_details_pb2.RetryInfo(retry_delay=delay),
        )
    )

    assert isinstance(error, ServerFull)
    assert error.reason == "NO_FREE_SLOT"
    assert error.retry_after_s == 2.5
    assert "8 slots" in str(error)


async def test_a_wrong_field_is_named() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation(
        field="config.sample_rate_hertz", description="must be 8000 to 192000"
    )
    error = await error_for(
        packed(
            code_pb2.INVALID_ARGUMENT,
            "The config is not understood.",
            reason("INVALID_REQUEST"),
            error_details_pb2.BadRequest(field_violations=[violation]),
        )
    )

    assert isinstance(error, InvalidRequest)
    assert "config.sample_rate_hertz: must be 8000 to 192000" in str(error)


async def test_what_grpc_core_calls_too_large_is_a_message_that_is_too_large() -> None:
    async def end(context: grpc.aio.ServicerContext) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")

    async with serving(Speech(end)) as (endpoint, _), open_channel(endpoint) as channel:
        error = error_from_rpc(await stream_error(channel, endpoint))

    assert isinstance(error, MessageTooLarge)


async def test_check_names_a_service_that_does_not_answer_in_time() -> None:
    async with HttpEdge(200) as edge, open_channel(edge.endpoint) as channel:
        edge.answer = None
        with pytest.raises(ServerUnavailable, match=r"did not answer within 0\.2 s"):
            await check_serving(channel, edge.endpoint, timeout_s=0.2)
