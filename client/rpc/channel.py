"""How to reach the service: the channel, patience with a cold start, true errors.

The gRPC client and the gateway both come through here. A caller opens a channel, waits until the
service serves, then calls:

    endpoint = Endpoint.parse("https://example.modal.run", Credentials(key, secret))
    async with open_channel(endpoint) as channel:
        await wait_until_serving(channel, endpoint)
        call = SpeechToTextServiceStub(channel).StreamingTranscribe(metadata=endpoint.metadata)

A bidirectional call learns unreliably why an HTTP edge refused it, a unary call reliably. So the
waiting is done with unary calls, and `find_true_error` asks again by a unary call when a stream
dies before its first response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2

from client.rpc import grpc_core_messages
from client.rpc.details import metadata_value
from client.rpc.endpoint import Credentials, Endpoint, Tls
from client.rpc.errors import (
    CallCancelled,
    NoSuchService,
    ServerFailed,
    ServerUnavailable,
    SttError,
    error_from_rpc,
    status_is_from_the_service,
)
from client.rpc.probe import find_obstacle
from client.rpc.proxy import find_proxy
from client.rpc.reasons import Reason
from client.rpc.retry import OnWait, Patience, Retry
from client.rpc.route import Protocol, Route
from client.rpc.trust import check_client_certificate, make_context, read_trusted_roots

__all__ = [
    "Credentials",
    "Endpoint",
    "Tls",
    "check_serving",
    "find_route",
    "find_true_error",
    "open_channel",
    "wait_until_serving",
]

SERVICE_NAME = "stt.v1.SpeechToTextService"

CHECK_TIMEOUT_S = 10.0
RETRY_AFTER_REFUSED_STREAM_S = 1.0

MAX_UNREAD_BYTES = 256 * 1024
"""What the service may send of a call before it is read: some thousand events. The longest `final`,
4 MiB, takes as many round trips as there are of these in it."""

# Where a health check that is not SERVING says why.
_REASON_KEY = "stt-reason"

_MAX_RESPONSE_BYTES = 64 * 1024 * 1024


def open_channel(endpoint: Endpoint) -> grpc.aio.Channel:
    """A channel to the endpoint; it connects with the first call. The caller closes it.

    Raises ValueError, as `find_route` does.
    """
    options = _channel_options(find_route(endpoint))
    if endpoint.tls is None:
        return grpc.aio.insecure_channel(endpoint.target, options)
    credentials = grpc.ssl_channel_credentials(
        endpoint.tls.root_certificates or read_trusted_roots(),
        endpoint.tls.private_key,
        endpoint.tls.certificate_chain,
    )
    return grpc.aio.secure_channel(endpoint.target, credentials, options)


def find_route(endpoint: Endpoint) -> Route:
    """The route to an endpoint from this machine: whom to trust, and through which proxy.

    Raises ValueError for certificates or an environment variable that cannot be used.
    """
    context = None
    if endpoint.tls is not None:
        roots = endpoint.tls.root_certificates or read_trusted_roots()
        context = make_context(roots, alpn="h2")
        check_client_certificate(endpoint.tls.private_key, endpoint.tls.certificate_chain)
    proxy = find_proxy(endpoint.host, endpoint.port, "grpc", secure=context is not None)
    if proxy is not None and proxy.scheme != "http":
        raise ValueError(
            f"gRPC goes through HTTP proxies only, not through {proxy}. Name one in grpc_proxy, "
            "name the host in no_proxy, or use the WebSocket address."
        )
    return Route(endpoint.host, endpoint.port, Protocol.GRPC, context, proxy)


def _channel_options(route: Route) -> Sequence[tuple[str, int | str]]:
    return (
        # The server refuses a message that is too large; the client need not know its limit.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", _MAX_RESPONSE_BYTES),
        # What waits here for a slow reader: gRPC's own guess grows to several MiB a call.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", MAX_UNREAD_BYTES),
        # Finds a dead peer within 40 s, even without traffic.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.max_pings_without_data", 0),
        # A container that starts is reached soon, not after gRPC's own two minutes.
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.min_reconnect_backoff_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # Two endpoints in one process must not share a connection, or one's death is the other's.
        ("grpc.use_local_subchannel_pool", 1),
        # gRPC reads the proxy variables differently from every other program.
        *(
            [("grpc.enable_http_proxy", 1), ("grpc.http_proxy", route.proxy.url)]
            if route.proxy is not None
            else [("grpc.enable_http_proxy", 0)]
        ),
    )


async def check_serving(
    channel: grpc.aio.Channel, endpoint: Endpoint, timeout_s: float = CHECK_TIMEOUT_S
) -> None:
    """Return if the service serves now; raise the `SttError` that says why not."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    request = health_pb2.HealthCheckRequest(service=SERVICE_NAME)
    call = check(request, timeout=timeout_s, metadata=endpoint.metadata)
    try:
        response = await call
    except grpc.aio.AioRpcError as rpc_error:
        raise await _error_from_check(channel, rpc_error, endpoint, timeout_s) from rpc_error
    if response.status == health_pb2.HealthCheckResponse.SERVING:
        return
    if response.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
        raise NoSuchService(f"The gRPC server at {endpoint} does not know {SERVICE_NAME}.")
    if metadata_value(await call.trailing_metadata(), _REASON_KEY) == Reason.WARMING_UP:
        text = f"The service at {endpoint} is still loading its model."
        raise ServerUnavailable(text, reason=Reason.WARMING_UP)
    raise ServerUnavailable(f"The service at {endpoint} is starting or draining.")


async def _error_from_check(
    channel: grpc.aio.Channel,
    rpc_error: grpc.aio.AioRpcError,
    endpoint: Endpoint,
    timeout_s: float,
) -> SttError:
    error = error_from_rpc(rpc_error)
    if status_is_from_the_service(rpc_error):
        return error
    if channel.get_state() is not grpc.ChannelConnectivity.READY:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                if obstacle := await find_obstacle(find_route(endpoint)):
                    return obstacle
    match rpc_error.code():
        case grpc.StatusCode.UNKNOWN if grpc_core_messages.NO_STATUS.search(
            rpc_error.details() or ""
        ):
            return NoSuchService(f"The server at {endpoint} answers, but not as a gRPC service.")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerUnavailable(
                f"The service at {endpoint} did not answer within {timeout_s:g} s."
            )
        case grpc.StatusCode.CANCELLED:
            # An edge may reset the call while it starts.
            return ServerUnavailable(f"The service at {endpoint} broke off the call.")
        case _:
            return error


async def wait_until_serving(
    channel: grpc.aio.Channel,
    endpoint: Endpoint,
    *,
    patience: Patience | None = None,
    on_wait: OnWait | None = None,
) -> None:
    """Ask until the service serves, with jittered pauses, through a cold start.

    `on_wait` (plain or async) is called before each pause. Raises the true reason: at once if
    waiting does not help (`Unauthenticated`, `NoSuchService`, …), else when patience runs out.
    """
    retry = Retry((patience or Patience()).limit_s, on_wait)
    while True:
        try:
            return await check_serving(channel, endpoint)
        except SttError as error:
            await retry.pause(error)


async def find_true_error(
    channel: grpc.aio.Channel, endpoint: Endpoint, rpc_error: grpc.aio.AioRpcError
) -> SttError:
    """Why a stream died before its first response, checked by a unary call if it is unsure.

    A status that names its cause is not checked.
    """
    first_guess = error_from_rpc(rpc_error)
    if status_is_from_the_service(rpc_error):
        return first_guess
    try:
        await check_serving(channel, endpoint)
    except SttError as error:
        return error
    if isinstance(first_guess, (ServerFailed, CallCancelled, ServerUnavailable)):
        return ServerUnavailable(
            f"The service at {endpoint} answers, but broke off the stream "
            f"({rpc_error.details() or rpc_error.code().name}). Try again.",
            RETRY_AFTER_REFUSED_STREAM_S,
        )
    return first_guess
