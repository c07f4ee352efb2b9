"""One session over gRPC: messages ↔ typed events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from client.events import Final, Flushed, Pause, Ping, Ready, ServerEvent, Timing, Token, Word
from client.options import Encoding, FloatArray, SessionOptions
from client.rpc.channel import Endpoint, find_true_error
from client.rpc.errors import CallCancelled, ServerUnavailable, SttError, error_from_rpc
from client.rpc.writing import write_request
from stt.v1 import stt_pb2, stt_pb2_grpc

_ENCODINGS = {
    Encoding.PCM_F32LE: stt_pb2.ENCODING_PCM_F32LE,
    Encoding.PCM_S16LE: stt_pb2.ENCODING_PCM_S16LE,
}

StreamCall = grpc.aio.StreamStreamCall[
    stt_pb2.StreamingTranscribeRequest, stt_pb2.StreamingTranscribeResponse
]


class GrpcConnection:
    """A `StreamingTranscribe` call. The channel stays its owner's."""

    def __init__(self, call: StreamCall, channel: grpc.aio.Channel, endpoint: Endpoint) -> None:
        self._call = call
        self._channel = channel
        self._endpoint = endpoint
        self._encoding = Encoding.PCM_F32LE
        self._was_answered = False
        self._is_closed = False

    @classmethod
    async def open(
        cls, channel: grpc.aio.Channel, endpoint: Endpoint, options: SessionOptions
    ) -> GrpcConnection:
        """Start a session; the server's answer, or why it refused, comes with `events`."""
        call = stt_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(
            metadata=endpoint.metadata
        )
        connection = cls(call, channel, endpoint)
        connection._encoding = options.encoding
        try:
            with contextlib.suppress(ServerUnavailable):
                await connection._write(config=config_from(options))
        except BaseException:
            # Nobody else knows of the call yet.
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
        """Half-close: finish my words."""
        try:
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise ServerUnavailable("The connection broke.") from error

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Typed events until the session ends; raises the `SttError` that says why it failed."""
        finished = False
        try:
            async for response in self._call:
                self._was_answered = True
                if (event := event_from(response)) is not None:
                    yield event
                    finished = isinstance(event, Final)
        except asyncio.CancelledError as cancelled:
            # grpc.aio raises it too where somebody ended the call and nobody cancelled this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise CallCancelled("This side ended the call.") from cancelled
        except grpc.aio.AioRpcError as rpc_error:
            error = await self._explain(rpc_error)
            # After `final` a status that was lost is no failure. One with a reason is: the service
            # ended the session itself, and audio that it has not heard may be on its way.
            if not finished or error.reason is not None:
                raise error from rpc_error

    async def aclose(self) -> None:
        """Cancel the call if it still runs."""
        self._is_closed = True
        self._call.cancel()

    async def _write(self, **request: Any) -> None:
        if not await write_request(self._call, stt_pb2.StreamingTranscribeRequest(**request)):
            # The reading side learns the status and explains it.
            raise ServerUnavailable("The connection broke.")

    async def _explain(self, rpc_error: grpc.aio.AioRpcError) -> SttError:
        if not self._was_answered:
            return await find_true_error(self._channel, self._endpoint, rpc_error)
        error = error_from_rpc(rpc_error)
        if isinstance(error, CallCancelled) and not self._is_closed:
            return ServerUnavailable(f"The connection broke: {rpc_error.details()}")
        return error


def config_from(options: SessionOptions) -> stt_pb2.StreamingConfig:
    """The first message of a session."""
    config = stt_pb2.StreamingConfig(
        encoding=_ENCODINGS[options.encoding],
        # Words and pings are asked for even where the caller does not want them: they say
        # what is settled, which a replay needs to know.
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
        config.idle_timeout.FromNanoseconds(round(options.idle_timeout_s * 1e9))
    if options.stall_timeout_s is not None:
        config.stall_timeout.FromNanoseconds(round(options.stall_timeout_s * 1e9))
    return config


def event_from(response: stt_pb2.StreamingTranscribeResponse) -> ServerEvent | None:
    """The typed event of a response; None for one that this client does not know."""
    timing = Timing(
        processed_s=_seconds(response.processed_offset),
        lag_s=_seconds(response.lag),
        step_time=response.step_time.seconds + response.step_time.nanos * 1e-9
        if response.HasField("step_time")
        else None,
    )
    match response.WhichOneof("event"):
        case "ready":
            ready = response.ready
            return Ready(
                ready.session_id,
                _seconds(ready.delay),
                ready.frame_samples,
                ready.sample_rate_hertz,
                timing,
            )
        case "token":
            return Token(response.token.text, _seconds(response.token.start_offset), timing)
        case "word":
            return _word(response.word, timing)
        case "vad_end":
            return Pause(_seconds(response.vad_end.offset), timing)
        case "ping":
            return Ping(timing)
        case "flushed":
            return Flushed(response.flushed.flush_id, timing)
        case "final":
            words = tuple(_word(word, timing) for word in response.final.words)
            duration_s = _seconds(response.final.audio_duration)
            return Final(response.final.transcript, words, duration_s, timing)
        case "step" | "utterance" | None:
            return None


def _word(word: stt_pb2.Word, timing: Timing) -> Word:
    return Word(
        word.text, _seconds(word.start_offset), _seconds(word.end_offset), word.confidence, timing
    )


def _seconds(duration: Duration) -> float:
    return duration.ToNanoseconds() / 1e9
