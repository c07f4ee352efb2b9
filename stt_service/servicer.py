"""gRPC on one side, a Session of the engine on the other."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Any

import grpc

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service import __version__
from stt_service.engine.engine import Engine
from stt_service.engine.errors import (
    EngineError,
    InternalError,
    InvalidOptions,
    NotServing,
    SlowConsumer,
)
from stt_service.engine.events import Final
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from stt_service.metrics import Metrics, SessionMeter
from stt_service.process.logs import get_logger
from stt_service.translation import (
    STATUS_DETAILS_KEY,
    MessageTooLarge,
    decode_options,
    decode_recording_options,
    encode_response,
    encode_status,
    encode_transcription,
    to_duration,
)

PING_INTERVAL_S = 5.0
CONFIG_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 30.0
SESSION_ID_KEY = "session-id"

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse
Context = grpc.aio.ServicerContext[Any, Any]

log = get_logger(__name__)


class SpeechToTextServicer(stt_pb2_grpc.SpeechToTextServiceServicer):
    """stt.v1.SpeechToTextService on an engine."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        *,
        model_name: str,
        description: str,
        max_message_bytes: int,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._model_name = model_name
        self._description = description
        self._max_message_bytes = max_message_bytes

    # Writes to the context instead of being a generator: when the caller goes away during a write,
    # a generator would free the slot only when it is collected.
    async def StreamingTranscribe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterable[Request], context: Context
    ) -> None:
        try:
            await self._stream(aiter(request_iterator), context)
        except Exception as error:
            await self._abort(context, error)

    async def Transcribe(
        self, request: stt_pb2.TranscribeRequest, context: Context
    ) -> stt_pb2.TranscribeResponse:
        try:
            return await self._transcribe(request, context)
        except Exception as error:
            await self._abort(context, error)
            raise

    async def GetServerInfo(
        self, request: stt_pb2.GetServerInfoRequest, context: Context
    ) -> stt_pb2.GetServerInfoResponse:
        try:
            info = self._engine.info
        except Exception as error:
            await self._abort(context, error)
            raise
        return stt_pb2.GetServerInfoResponse(
            model_name=self._model_name,
            sample_rate_hertz=info.sample_rate_hertz,
            frame_samples=info.frame_samples,
            delay=to_duration(info.delay_s),
            has_semantic_vad=info.has_semantic_vad,
            slots_total=self._engine.slots_total,
            slots_free=self._engine.slots_open,
            version=__version__,
            description=self._description,
        )

    async def _stream(self, requests: AsyncIterator[Request], context: Context) -> None:
        config = await read_config(requests)
        async with self._open_session(decode_options(config), context) as session:
            await context.write(self._write_ready(session))
            async with self._receiving(requests, session):
                await self._send(session, config, context)

    async def _transcribe(
        self, request: stt_pb2.TranscribeRequest, context: Context
    ) -> stt_pb2.TranscribeResponse:
        self._check_size(request.audio)
        options = decode_recording_options(request.config)
        meter = SessionMeter(self._metrics)
        async with (
            self._open_session(options, context) as session,
            self._receiving(split_recording(request), session),
        ):
            async for update in session:
                meter.record(update.event, update.lag_s)
                if isinstance(update.event, Final):
                    return encode_transcription(update.event)
        raise AssertionError("a session ends with Final or raises")

    @contextlib.asynccontextmanager
    async def _receiving(
        self, requests: AsyncIterator[Request], session: Session
    ) -> AsyncGenerator[None]:
        """Receive in the background while the block sends."""
        receiving = asyncio.create_task(self._receive(requests, session))
        try:
            yield
        finally:
            # Closed first, so that a receiver that waits for room gives up.
            session.close()
            receiving.cancel()
            await asyncio.wait([receiving])

    async def _receive(self, requests: AsyncIterator[Request], session: Session) -> None:
        """Hand the caller's audio and flushes to the session until the caller half-closes."""
        try:
            async for request in requests:
                match request.WhichOneof("request"):
                    case "audio":
                        self._check_size(request.audio)
                        self._metrics.audio_bytes.inc(len(request.audio))
                        await session.push_audio(request.audio)
                    case "flush":
                        await session.flush(request.flush.flush_id)
                    case "config":
                        raise InvalidOptions("config", "the config was sent twice")
                    case _:
                        raise InvalidOptions("request", "an empty request: no audio and no flush")
            session.finish()
        except EngineError as error:
            session.fail(error)
        except Exception:
            log.error("receiving failed", session_id=session.id, exc_info=True)
            session.fail(InternalError())

    async def _send(
        self, session: Session, config: stt_pb2.StreamingConfig, context: Context
    ) -> None:
        """Send the caller what it wants of the session's events, and pings when there are none."""
        meter = SessionMeter(self._metrics)
        wanted = set(config.events)
        quiet_s = PING_INTERVAL_S if stt_pb2.OPTIONAL_EVENT_PING in wanted else None
        while True:
            try:
                async with asyncio.timeout(quiet_s):
                    update = await anext(session, None)
            except TimeoutError:
                await write(context, write_ping(session))
                continue
            if update is None:
                return
            meter.record(update.event, update.lag_s)
            response = encode_response(update, wanted)
            if response is not None:
                await write(context, response)

    @contextlib.asynccontextmanager
    async def _open_session(
        self, options: SessionOptions, context: Context
    ) -> AsyncGenerator[Session]:
        """Open a session, name it in the response metadata, log and count how it went."""
        try:
            session = await self._engine.open_session(options)
        except NotServing as error:
            self._metrics.refusals.labels(reason=type(error).__name__).inc()
            raise
        session_log = log.bind(session_id=session.id)
        outcome = "cancelled"
        with self._metrics.count_session():
            try:
                session_log.info("session opened", peer=context.peer())
                await context.send_initial_metadata(((SESSION_ID_KEY, session.id),))
                yield session
                outcome = "final"
            except EngineError as error:
                outcome = type(error).__name__
                raise
            finally:
                session.close()
                self._metrics.sessions.labels(outcome=outcome).inc()
                session_log.info(
                    "session ended", outcome=outcome, audio_s=round(session.processed_s, 2)
                )

    def _write_ready(self, session: Session) -> Response:
        info = self._engine.info
        ready = stt_pb2.Ready(
            session_id=session.id,
            delay=to_duration(info.delay_s),
            frame_samples=info.frame_samples,
            sample_rate_hertz=info.sample_rate_hertz,
        )
        return Response(ready=ready)

    def _check_size(self, audio: bytes) -> None:
        if len(audio) > self._max_message_bytes:
            raise MessageTooLarge(len(audio), self._max_message_bytes)

    async def _abort(self, context: Context, error: Exception) -> None:
        if not isinstance(error, EngineError):
            # Its text is for the log; a caller could not use it.
            log.error("call failed", exc_info=error)
            error = InternalError()
        code, status = encode_status(error)
        await context.abort(code, str(error), ((STATUS_DETAILS_KEY, status.SerializeToString()),))


async def read_config(requests: AsyncIterator[Request]) -> stt_pb2.StreamingConfig:
    """The first request's config. Raises InvalidOptions if it has none, or does not come."""
    try:
        async with asyncio.timeout(CONFIG_TIMEOUT_S):
            first = await anext(requests, None)
    except TimeoutError:
        raise InvalidOptions("config", f"no config came within {CONFIG_TIMEOUT_S:g} s") from None
    if first is None or first.WhichOneof("request") != "config":
        raise InvalidOptions("config", "the first message must carry the config")
    return first.config


async def write(context: Context, response: Response) -> None:
    """Send a response. Raises SlowConsumer, so that a caller who reads nothing loses its slot."""
    try:
        async with asyncio.timeout(WRITE_TIMEOUT_S):
            await context.write(response)
    except TimeoutError:
        raise SlowConsumer(WRITE_TIMEOUT_S) from None


async def split_recording(request: stt_pb2.TranscribeRequest) -> AsyncIterator[Request]:
    """A whole recording as a stream of requests."""
    if request.audio:
        yield Request(audio=request.audio)


def write_ping(session: Session) -> Response:
    return Response(
        ping=stt_pb2.Ping(),
        processed_offset=to_duration(session.processed_s),
        lag=to_duration(session.lag_s),
    )
