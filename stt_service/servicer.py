"""gRPC on one side, a Session of the engine on the other."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

from stt.v1 import stt_pb2, stt_pb2_grpc
from stt_service import __version__
from stt_service.engine.allowance import current_allowance
from stt_service.engine.engine import Engine
from stt_service.engine.errors import (
    EngineError,
    InternalError,
    InvalidOptions,
    NotServing,
)
from stt_service.engine.events import Final
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session
from stt_service.metrics import Metrics, SessionMeter
from stt_service.process.logs import get_logger
from stt_service.translation import (
    MessageTooLarge,
    decode_options,
    decode_recording_options,
    decode_vad,
    encode_encoding,
    encode_response,
    encode_transcription,
    to_duration,
)
from stt_service.writing import Context, Writer

PING_INTERVAL_S = 5.0
SESSION_ID_KEY = "session-id"

Request = stt_pb2.StreamingTranscribeRequest
Response = stt_pb2.StreamingTranscribeResponse

log = get_logger(__name__)


class SpeechToTextServicer(stt_pb2_grpc.SpeechToTextServiceServicer):
    """stt.v1.SpeechToTextService on an engine."""

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        writer: Writer,
        *,
        model_name: str,
        description: str,
        max_message_bytes: int,
    ) -> None:
        self._engine = engine
        self._metrics = metrics
        self._writer = writer
        self._model_name = model_name
        self._description = description
        self._max_message_bytes = max_message_bytes

    # Writes to the context instead of being a generator: when the caller goes away during a write,
    # a generator would free the slot only when it is collected.
    async def StreamingTranscribe(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request_iterator: AsyncIterator[Request], context: Context
    ) -> None:
        config = await read_config(request_iterator)
        options = decode_options(config)
        async with self._open_session(options, context) as session:
            await self._writer.write(context, self._write_ready(session, options))
            async with self._receiving(request_iterator, session):
                await self._send(session, config, context)

    async def Transcribe(
        self, request: stt_pb2.TranscribeRequest, context: Context
    ) -> stt_pb2.TranscribeResponse:
        self._check_size(request.audio)
        options = decode_recording_options(request.config)
        meter = SessionMeter(self._metrics)
        final = None
        async with (
            self._open_session(options, context) as session,
            self._receiving(split_recording(request), session),
        ):
            # To the end: a recording that was cut short raises after its Final.
            async for update in session:
                meter.record(update.event, update.lag_s)
                final = update.event
        assert isinstance(final, Final), "a session ends with Final or raises"
        return encode_transcription(final)

    async def GetServerInfo(
        self, request: stt_pb2.GetServerInfoRequest, context: Context
    ) -> stt_pb2.GetServerInfoResponse:
        info = self._engine.info
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
                    case "vad":
                        vad = decode_vad(request.vad)
                        vad.check_against(self._engine.info)
                        await session.change_vad(vad)
                    case "config":
                        raise InvalidOptions("config", "the config was sent twice")
                    case _:
                        raise InvalidOptions(
                            "request", "an empty request: no audio, no flush and no vad"
                        )
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
                await self._writer.write(context, write_ping(session))
                continue
            if update is None:
                return
            meter.record(update.event, update.lag_s)
            response = encode_response(update, wanted)
            if response is not None:
                await self._writer.write(context, response)

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
        caller = {"key": name} if (name := current_allowance().name) else {}
        session_log = log.bind(session_id=session.id, **caller)
        outcome = "cancelled"
        with self._metrics.count_session():
            try:
                session_log.info("session opened", peer=context.peer())
                await self._writer.write_metadata(context, ((SESSION_ID_KEY, session.id),))
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

    def _write_ready(self, session: Session, options: SessionOptions) -> Response:
        info = self._engine.info
        ready = stt_pb2.Ready(
            session_id=session.id,
            delay=to_duration(info.delay_s),
            frame_samples=info.frame_samples,
            sample_rate_hertz=info.sample_rate_hertz,
            audio_encoding=encode_encoding(options.encoding),
            audio_sample_rate_hertz=options.resolve_sample_rate_hertz(info),
        )
        return Response(ready=ready)

    def _check_size(self, audio: bytes) -> None:
        if len(audio) > self._max_message_bytes:
            raise MessageTooLarge(len(audio), self._max_message_bytes)


async def read_config(requests: AsyncIterator[Request]) -> stt_pb2.StreamingConfig:
    """The first request's config. Raises InvalidOptions if it has none."""
    first = await anext(requests, None)
    if first is None or first.WhichOneof("request") != "config":
        raise InvalidOptions("config", "the first message must carry the config")
    return first.config


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
