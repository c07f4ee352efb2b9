"""The service behind the gateway: one call per session, retried through a cold start."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeGuard

import grpc

from client.rpc.channel import (
    Endpoint,
    check_serving,
    find_true_error,
    open_channel,
    wait_until_serving,
)
from client.rpc.channels import ChannelPool
from client.rpc.errors import (
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    SttError,
    Unauthenticated,
    error_from_rpc,
    status_is_from_the_service,
)
from client.rpc.messages import to_seconds
from client.rpc.reasons import Reason
from client.rpc.retry import Patience, Retry
from client.rpc.writing import write_request
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service.process.listening import is_own_number

Call = grpc.aio.StreamStreamCall[
    stt_pb2.StreamingTranscribeRequest, stt_pb2.StreamingTranscribeResponse
]
OnRetry = Callable[[SttError], None]

Metadata = tuple[tuple[str, str], ...]
FindEndpoint = Callable[[], Endpoint]

MIN_ADMISSION_S = 10.0
RETIRE_S = 5.0
"""For unary calls on a connection that is replaced: longer than any of them waits."""


_FULL_OF_ITSELF = (Reason.NO_FREE_SLOT, Reason.OVERLOADED, Reason.TOO_MANY_SESSIONS)


_caller: ContextVar[Metadata] = ContextVar("caller", default=())


@contextlib.contextmanager
def calling_for(caller: Metadata) -> Generator[None]:
    """Call the service for somebody whose key is in this metadata, whoever calls in the block."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


@dataclass(frozen=True)
class Admission:
    """A call that the service has admitted. `Upstream.admit` cancels it."""

    call: Call
    ready: stt_pb2.StreamingTranscribeResponse
    """The first response."""
    responses: AsyncIterator[stt_pb2.StreamingTranscribeResponse]
    """All further ones; raises `grpc.aio.AioRpcError` at the end of a call that fails."""


class Upstream:
    """The service at one endpoint. Create it in the event loop that uses it, and close it."""

    def __init__(self, endpoint: Endpoint, renewed: FindEndpoint | None = None) -> None:
        self.endpoint = endpoint
        self._renewed = renewed
        self._connect(endpoint)
        self._retiring: set[asyncio.Future[None]] = set()

    async def close(self) -> None:
        """Close all channels; calls that are still open are cancelled."""
        await asyncio.gather(self._questions.close(), self._channels.close(), *self._retiring)

    def _connect(self, endpoint: Endpoint) -> None:
        is_private = (
            endpoint.tls is not None or endpoint.is_loopback or is_own_number(endpoint.host)
        )
        self.passes_keys_on = endpoint.credentials is None and is_private
        """Whether the service is shown the callers' own keys: where the gateway has no credentials
        for it, and nobody can read them on the way."""
        # Unary calls have their own connection, so that they never wait behind audio.
        self._questions = open_channel(endpoint)
        self._channels = ChannelPool(lambda: open_channel(endpoint))

    def _renew(self) -> None:
        """Open new connections if the TLS files have changed; running sessions keep theirs."""
        if self._renewed is None or (endpoint := self._renewed()) == self.endpoint:
            return
        self.endpoint = endpoint
        self._channels.retire()
        retiring = asyncio.ensure_future(self._questions.close(RETIRE_S))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self._connect(endpoint)

    async def check(self, timeout_s: float) -> None:
        """Return if the service serves now; raise the `SttError` that says why not."""
        self._renew()
        await check_serving(self._questions, self.endpoint, timeout_s)

    def _make_metadata(self) -> Metadata:
        return _caller.get() if self.passes_keys_on else self.endpoint.metadata

    async def get_server_info(self, timeout_s: float) -> stt_pb2.GetServerInfoResponse:
        """What is served. Raises `SttError`."""
        self._renew()
        stub = stt_pb2_grpc.SpeechToTextServiceStub(self._questions)
        request = stt_pb2.GetServerInfoRequest()
        try:
            return await stub.GetServerInfo(
                request, timeout=timeout_s, metadata=self._make_metadata()
            )
        except grpc.aio.AioRpcError as error:
            if not status_is_from_the_service(error):
                # The check finds out why the service does not answer; gRPC's message does not say.
                await self.check(timeout_s)
            raise error_from_rpc(error) from error

    @contextlib.asynccontextmanager
    async def admit(
        self, config: stt_pb2.StreamingConfig, patience_s: float, on_retry: OnRetry
    ) -> AsyncGenerator[Admission]:
        """Open a session, waiting through a cold start; it is closed when the block ends.

        Tries again until `patience_s` has passed while the service is starting or unreachable, or
        while its edge is full, since the edge may be starting another container; `on_retry` gets
        the reason. Does not try again if the service itself says that every slot is taken.
        Raises `SttError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        retry = Retry(lambda _: patience_s, lambda waiting: on_retry(waiting.reason))
        self._renew()
        with self._channels.share() as channel:
            while True:
                await self._wait_until_serving(channel, deadline - loop.time(), on_retry)
                slot_wait_s = to_seconds(config.wait_for_slot)
                timeout_s = max(MIN_ADMISSION_S + slot_wait_s, deadline - loop.time())
                with self._open_call(channel) as call:
                    answer = await self._ask_in(channel, call, config, timeout_s)
                    if isinstance(answer, Admission):
                        yield answer
                        return
                await retry.pause(answer)

    @contextlib.contextmanager
    def _open_call(self, channel: grpc.aio.Channel) -> Generator[Call]:
        """A call that is cancelled when the block ends, so that its slot is free at once."""
        stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
        call = stub.StreamingTranscribe(metadata=self._make_metadata())
        try:
            yield call
        finally:
            call.cancel()

    async def _wait_until_serving(
        self, channel: grpc.aio.Channel, left_s: float, on_retry: OnRetry
    ) -> None:
        left_s = max(0.0, left_s)
        await wait_until_serving(
            channel,
            self.endpoint,
            patience=Patience(starting_s=left_s, full_s=left_s, unreachable_s=left_s),
            on_wait=lambda waiting: on_retry(waiting.reason),
        )

    async def _ask_in(
        self,
        channel: grpc.aio.Channel,
        call: Call,
        config: stt_pb2.StreamingConfig,
        timeout_s: float,
    ) -> Admission | ServerUnavailable | ServerFull:
        """The service's answer. Errors worth another try are returned, not raised."""
        try:
            async with asyncio.timeout(timeout_s):
                await write_request(call, stt_pb2.StreamingTranscribeRequest(config=config))
                responses = aiter(call)
                ready = await anext(responses, None)
        except TimeoutError:
            return ServerUnavailable(
                f"The service at {self.endpoint} admitted nobody within {timeout_s:.0f} s."
            )
        except grpc.aio.AioRpcError as rpc_error:
            error = await find_true_error(channel, self.endpoint, rpc_error)
            if _may_pass(error):
                return error
            if isinstance(error, Unauthenticated) and not self.passes_keys_on:
                # Only a client whose own key is refused can do anything about it.
                error.reason = None
            raise error from rpc_error
        if ready is None or not ready.HasField("ready"):
            raise ServerFailed(f"The service at {self.endpoint} does not speak stt.v1.")
        return Admission(call, ready, responses)


def _may_pass(error: SttError) -> TypeGuard[ServerUnavailable | ServerFull]:
    """Whether it helps to try again. A full HTTP edge may be starting another container; a service
    that says that every slot is taken is not."""
    match error:
        case ServerFull():
            return error.reason not in _FULL_OF_ITSELF
        case _:
            return isinstance(error, ServerUnavailable)
