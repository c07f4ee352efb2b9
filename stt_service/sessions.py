"""The engine's sessions for the calls of every protocol: opened, fed, logged and counted alike."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from stt_service.engine.allowance import current_allowance
from stt_service.engine.engine import Engine
from stt_service.engine.errors import EngineError, InternalError, NotServing
from stt_service.engine.events import Final
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session, Update
from stt_service.metrics import Metrics, SessionMeter
from stt_service.process.logs import get_logger
from stt_service.translation import MessageTooLarge
from stt_service.writing import Context, Writer

SESSION_ID_KEY = "session-id"
PING_INTERVAL_S = 5.0

log = get_logger(__name__)


class Sessions:
    """Opens sessions of one engine for gRPC calls."""

    def __init__(
        self, engine: Engine, metrics: Metrics, writer: Writer, max_message_bytes: int
    ) -> None:
        self.engine = engine
        self.writer = writer
        self._metrics = metrics
        self._max_message_bytes = max_message_bytes

    @contextlib.asynccontextmanager
    async def open(self, options: SessionOptions, context: Context) -> AsyncGenerator[Session]:
        """Open a session, name it in the response metadata, log and count how it went."""
        try:
            session = await self.engine.open_session(options)
        except NotServing as error:
            self._metrics.refusals.labels(reason=type(error).__name__).inc()
            raise
        caller = {"key": name} if (name := current_allowance().name) else {}
        session_log = log.bind(session_id=session.id, **caller)
        outcome = "cancelled"
        with self._metrics.sessions_open.track_inprogress():
            try:
                session_log.info("session opened", peer=context.peer())
                await self.writer.write_metadata(context, ((SESSION_ID_KEY, session.id),))
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

    @contextlib.asynccontextmanager
    async def feeding(
        self, session: Session, feed: Callable[[Session], Awaitable[None]]
    ) -> AsyncGenerator[None]:
        """Feed the session in the background while the block sends its events.

        `feed` hands over what the caller sends, until the caller half-closes; what it raises ends
        the session.
        """
        feeding = asyncio.create_task(self._feed(session, feed))
        try:
            yield
        finally:
            # Closed first, so that a feeder that waits for room gives up.
            session.close()
            feeding.cancel()
            await asyncio.wait([feeding])

    async def send(
        self,
        session: Session,
        encode: Callable[[Update], object | None],
        context: Context,
        encode_ping: Callable[[], object] | None = None,
    ) -> None:
        """Send the caller what `encode` makes of the session's events; None is nothing to say.

        With `encode_ping`, what that makes is sent too, whenever there was no event for a while.
        """
        meter = SessionMeter(self._metrics)
        while True:
            try:
                async with asyncio.timeout(PING_INTERVAL_S if encode_ping else None):
                    update = await anext(session, None)
            except TimeoutError:
                assert encode_ping is not None
                await self.writer.write(context, encode_ping())
                continue
            if update is None:
                return
            meter.record(update.event, update.lag_s)
            response = encode(update)
            if response is not None:
                await self.writer.write(context, response)

    async def transcribe(self, audio: bytes, options: SessionOptions, context: Context) -> Final:
        """What is said in a whole recording."""
        final = None
        async with (
            self.open(options, context) as session,
            self.feeding(session, lambda session: session.push_audio(audio)),
        ):
            meter = SessionMeter(self._metrics)
            # To the end: a recording that was cut short raises after its Final.
            async for update in session:
                meter.record(update.event, update.lag_s)
                final = update.event
        assert isinstance(final, Final), "a session ends with Final or raises"
        return final

    async def _feed(self, session: Session, feed: Callable[[Session], Awaitable[None]]) -> None:
        try:
            await feed(session)
            session.finish()
        except EngineError as error:
            session.fail(error)
        except Exception:
            log.error("receiving failed", session_id=session.id, exc_info=True)
            session.fail(InternalError())

    def take_audio(self, audio: bytes) -> bytes:
        """Count audio that a caller sent. Raises MessageTooLarge."""
        if len(audio) > self._max_message_bytes:
            raise MessageTooLarge(len(audio), self._max_message_bytes)
        self._metrics.audio_bytes.inc(len(audio))
        return audio
