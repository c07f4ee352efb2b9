"""One session over gRPC: messages ↔ typed events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, cast

import grpc

from client.options import Encoding, FloatArray, SessionOptions
from client.rpc.channel import Endpoint, find_true_error
from client.rpc.errors import CallCancelled, ServerUnavailable, SttError, error_from_rpc
from client.rpc.events import ServerEvent
from client.rpc.messages import decode_event, to_duration
from client.rpc.writing import finish_writing, write_request
from stt.v1 import stt_pb2, stt_pb2_grpc

_ENCODINGS = {
    Encoding.PCM_F32LE: stt_pb2.ENCODING_PCM_F32LE,
    Encoding.PCM_S16LE: stt_pb2.ENCODING_PCM_S16LE,
}

Response = stt_pb2.StreamingTranscribeResponse
StreamCall = grpc.aio.StreamStreamCall[stt_pb2.StreamingTranscribeRequest, Response]


class GrpcConnection:
    """A `StreamingTranscribe` call. The caller keeps the channel, and closes it."""

    def __init__(self, call: StreamCall, channel: grpc.aio.Channel, endpoint: Endpoint) -> None:
        self._call = call
        self._channel = channel
        self._endpoint = endpoint
        self._encoding = Encoding.PCM_F32LE
        self._was_answered = False
        self._is_closed = False
        self._responses = cast("AsyncGenerator[Response]", aiter(call))
        self._on_close = contextlib.ExitStack()

    @classmethod
    async def open(
        cls, channel: grpc.aio.Channel, endpoint: Endpoint, options: SessionOptions
    ) -> GrpcConnection:
        """Start a session; `events` yields the answer, or raises why it was refused."""
        call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(
            metadata=endpoint.metadata
        )
        connection = cls(call, channel, endpoint)
        connection._encoding = options.encoding
        try:
            with contextlib.suppress(ServerUnavailable):
                await connection._write(config=encode_config(options))
        except BaseException:
            # Nothing else refers to the call yet.
            await connection.aclose()
            raise
        return connection

    async def send_audio(self, pcm: FloatArray) -> None:
        """Send mono samples at 24 kHz; waits while the server is busy (flow control)."""
        await self._write(audio=self._encoding.encode(pcm))

    async def send_flush(self, flush_id: str) -> None:
        """Ask for every word of the audio so far."""
        await self._write(flush=stt_pb2.Flush(flush_id=flush_id))

    async def send_end(self) -> None:
        """Half-close the call; the remaining words and `Final` follow."""
        if not await finish_writing(self._call):
            raise ServerUnavailable("The connection broke.")

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Typed events until the session ends; raises the `SttError` that says why it failed."""
        try:
            async for response in self._responses:
                self._was_answered = True
                if (event := decode_event(response)) is not None:
                    yield event
        except asyncio.CancelledError as cancelled:
            # grpc.aio also raises it when the call was cancelled and this task was not.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CallCancelled("This side ended the call.") from cancelled
        except grpc.aio.AioRpcError as rpc_error:
            raise await self._explain(rpc_error) from rpc_error

    async def aclose(self) -> None:
        """Cancel the call if it still runs. May be called twice."""
        self._is_closed = True
        self._call.cancel()
        # Otherwise the call and its generator of responses hold each other, and so the connection,
        # until the garbage collector comes. One that is still being read ends by the cancelling.
        with contextlib.suppress(RuntimeError):
            await self._responses.aclose()
        self._on_close.close()

    def on_close(self, callback: Callable[[], None]) -> None:
        """Have `aclose` call something, once."""
        self._on_close.callback(callback)

    async def _write(self, **request: Any) -> None:
        if not await write_request(self._call, stt_pb2.StreamingTranscribeRequest(**request)):
            # `events` receives the status and raises the reason.
            raise ServerUnavailable("The connection broke.")

    async def _explain(self, rpc_error: grpc.aio.AioRpcError) -> SttError:
        if not self._was_answered:
            return await find_true_error(self._channel, self._endpoint, rpc_error)
        error = error_from_rpc(rpc_error)
        if isinstance(error, CallCancelled) and not self._is_closed:
            return ServerUnavailable(f"The connection broke: {rpc_error.details()}")
        return error


def encode_config(options: SessionOptions) -> stt_pb2.StreamingConfig:
    """The first message of a session."""
    config = stt_pb2.StreamingConfig(
        encoding=_ENCODINGS[options.encoding],
        # Words and pings are always requested: a replay needs them to know what is settled.
        events=[
            stt_pb2.OPTIONAL_EVENT_WORD,
            stt_pb2.OPTIONAL_EVENT_PING,
            *([stt_pb2.OPTIONAL_EVENT_VAD_END] if options.pauses else []),
        ],
        vad=stt_pb2.VadSettings(
            threshold=options.vad.threshold or 0.0, pause_seconds=options.vad.pause_s or 0.0
        ),
    )
    if options.idle_timeout_s is not None:
        config.idle_timeout.CopyFrom(to_duration(options.idle_timeout_s))
    if options.stall_timeout_s is not None:
        config.stall_timeout.CopyFrom(to_duration(options.stall_timeout_s))
    return config
