"""The service behind the gateway: one channel for all sessions, and patience with a cold start."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import grpc

from stt.channel import (
    Endpoint,
    Patience,
    Waiting,
    check_serving,
    find_true_error,
    open_channel,
    wait_until_serving,
)
from stt.errors import ServerFailed, ServerFull, ServerUnavailable, SttError, error_from_rpc
from stt.v1 import stt_pb2, stt_pb2_grpc
from stt.writing import write_request

Call = grpc.aio.StreamStreamCall[
    stt_pb2.StreamingTranscribeRequest, stt_pb2.StreamingTranscribeResponse
]
OnRetry = Callable[[SttError], None]

LEAST_ADMISSION_S = 10.0
PAUSE_S = 1.0


@dataclass(frozen=True)
class Admission:
    """A call that the service has admitted."""

    call: Call
    ready: stt_pb2.StreamingTranscribeResponse
    """The first response."""
    responses: AsyncIterator[stt_pb2.StreamingTranscribeResponse]
    """All further ones; raises `grpc.aio.AioRpcError` at the end of a call that fails."""


class Upstream:
    """The service at one endpoint. Make it inside the event loop that uses it; close it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._channel = open_channel(endpoint)
        self._stub = stt_pb2_grpc.SpeechToTextServiceStub(self._channel)

    async def close(self) -> None:
        """Close the channel; calls that are still open are cancelled."""
        await self._channel.close()

    async def check(self, timeout_s: float) -> None:
        """Return if the service serves now; raise the `SttError` that says why not."""
        await check_serving(self._channel, self.endpoint, timeout_s)

    async def get_server_info(self, timeout_s: float) -> stt_pb2.GetServerInfoResponse:
        """What is served. Raises `SttError`."""
        request = stt_pb2.GetServerInfoRequest()
        try:
            return await self._stub.GetServerInfo(
                request, timeout=timeout_s, metadata=self.endpoint.metadata
            )
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from error

    async def admit(
        self, config: stt_pb2.StreamingConfig, patience_s: float, on_retry: OnRetry
    ) -> Admission:
        """Open a session, through a cold start if need be.

        A service that starts, cannot be reached or is full at its edge, which may be starting one
        more, is asked again until patience ends; `on_retry` is told why. A service that itself
        says that every slot is taken is not. Raises `SttError`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while True:
            left_s = max(0.0, deadline - loop.time())
            await wait_until_serving(
                self._channel,
                self.endpoint,
                patience=Patience(starting_s=left_s, full_s=left_s, unreachable_s=left_s),
                on_wait=_tell_reason(on_retry),
            )
            try:
                left_s = max(LEAST_ADMISSION_S, deadline - loop.time())
                return await self._open_call(config, left_s)
            except (ServerUnavailable, _EdgeFull) as error:
                pause_s = random.uniform(0.5, 1.0) * (error.retry_after_s or PAUSE_S)
                if loop.time() + pause_s >= deadline:
                    raise
                on_retry(error)
                await asyncio.sleep(pause_s)

    async def _open_call(self, config: stt_pb2.StreamingConfig, timeout_s: float) -> Admission:
        call = self._stub.StreamingTranscribe(metadata=self.endpoint.metadata)
        try:
            async with asyncio.timeout(timeout_s):
                await write_request(call, stt_pb2.StreamingTranscribeRequest(config=config))
                responses = aiter(call)
                ready = await anext(responses, None)
            if ready is None or not ready.HasField("ready"):
                raise ServerFailed(f"The service at {self.endpoint} does not speak stt.v1.")
            return Admission(call, ready, responses)
        except BaseException as error:
            call.cancel()
            if isinstance(error, grpc.aio.AioRpcError):
                raise await self._find_reason(error) from error
            if isinstance(error, TimeoutError):
                raise ServerUnavailable(
                    f"The service at {self.endpoint} admitted nobody within {timeout_s:.0f} s."
                ) from error
            raise

    async def _find_reason(self, rpc_error: grpc.aio.AioRpcError) -> SttError:
        error = await find_true_error(self._channel, self.endpoint, rpc_error)
        own_words = rpc_error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        if isinstance(error, ServerFull) and not own_words:
            return _EdgeFull(str(error), error.retry_after_s)
        return error


class _EdgeFull(ServerFull):
    """Full, says an HTTP edge (429), which may be starting one more container."""


def _tell_reason(on_retry: OnRetry) -> Callable[[Waiting], None]:
    return lambda waiting: on_retry(waiting.reason)
