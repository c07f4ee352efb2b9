"""gRPC's own server with our settings of HTTP/2, and a mend for what would end it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import grpc
from grpc._cython import cygrpc

from stt_service.process.descriptors import count_connections
from stt_service.process.logs import OccasionalLog, get_logger
from stt_service.writing import STATUS_TIMEOUT_S

# A connection that an edge or a NAT dropped silently is noticed within 30 s.
KEEPALIVE_TIME_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 10_000
# Clients may ping as often, also between calls, without being cut off for it.
MIN_PING_INTERVAL_MS = 5_000
# From the connection to the end of its TLS and HTTP/2 handshakes.
HANDSHAKE_TIMEOUT_MS = 10_000
# Without a call for so long, a connection is closed; clients open another for their next call.
MAX_CONNECTION_IDLE_MS = 300_000
MAX_CONNECTIONS = 4096
# Calls on one connection beside a session for each slot: refusals, health checks, infos.
SPARE_STREAMS = 100
# A message up to this many times the limit is read, so that our own status can answer it.
HARD_LIMIT_FACTOR = 2
# Bit 0 is "identity": audio does not compress, and what decompresses to gigabytes holds up the
# sessions beside it. gRPC answers other encodings with UNIMPLEMENTED, as its protocol wants.
ONLY_UNCOMPRESSED = 0b1

log = get_logger(__name__)

# cygrpc has no types.
_AioServer: Any = cygrpc.AioServer  # pyright: ignore


def make_channel_arguments(max_message_bytes: int, slots: int) -> list[tuple[str, int]]:
    """gRPC's settings of HTTP/2, for the server."""
    return [
        ("grpc.max_receive_message_length", HARD_LIMIT_FACTOR * max_message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        ("grpc.max_connection_idle_ms", MAX_CONNECTION_IDLE_MS),
        ("grpc.max_allowed_incoming_connections", count_connections(MAX_CONNECTIONS)),
        ("grpc.max_concurrent_streams", slots + SPARE_STREAMS),
        ("grpc.compression_enabled_algorithms_bitset", ONLY_UNCOMPRESSED),
        # Two servers on one port would share its calls silently.
        ("grpc.so_reuseport", 0),
    ]


def make_grpc_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, int]]
) -> grpc.aio.Server:
    """A server that outlives a call to a method whose name is not UTF-8."""
    server: Any = grpc.aio.server(interceptors=interceptors, options=options)
    arguments = (server._loop, None, (), tuple(interceptors), tuple(options), None)
    try:
        server._server = _Core(*arguments)
    except TypeError:
        # Releases after 1.85 ask whether it is a server for xDS.
        server._server = _Core(*arguments, False)
    logging.getLogger("grpc._cython.cygrpc").addFilter(_leave_callers_faults_to_us)
    return server


class _Core(_AioServer):
    """grpc's own server without its handling of methods that nobody registered.

    grpc 1.85.3 decodes the names of those in the loop that accepts all calls: one name that is not
    UTF-8, from anybody, ends that loop, and every session with it. All methods that exist here are
    registered, so any other can be refused without its name.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *arguments: object) -> None:
        super().__init__(loop, *arguments)  # pyright: ignore
        self._event_loop = loop
        self._refusals: set[asyncio.Task[None]] = set()
        self._occasional = OccasionalLog(log)

    async def _request_call(self) -> Any:
        """Refuse every call of a method that is not registered; returns none of them."""
        while True:
            state: Any = await super()._request_call()  # pyright: ignore
            # As grpc itself runs a call: also until its caller has left.
            running: Any = cygrpc._schedule_rpc_coro  # pyright: ignore
            refusal = self._event_loop.create_task(
                running(self._refuse(state), state, self._event_loop, "unknown")
            )
            self._refusals.add(refusal)
            refusal.add_done_callback(self._refusals.discard)

    async def _refuse(self, state: Any) -> None:
        context: Any = cygrpc._ServicerContext(state, None, None, self._event_loop)  # pyright: ignore
        self._occasional.warning("unknown method called", peer=context.peer())
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
        except TimeoutError:
            return


def _leave_callers_faults_to_us(record: logging.LogRecord) -> bool:
    """Whether a record of grpc's is one to log: not a traceback for what a caller did.

    It writes one for a header that is not UTF-8, and for a caller that leaves while it is
    answered.
    """
    said = record.getMessage()
    return not said.startswith(("Invalid encoding on", "ExecuteBatchError raised in core"))
