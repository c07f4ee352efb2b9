"""One session: a WebSocket on one side, a call of the service on the other, two pumps between.

    receive_messages → inbox → pump_audio    WebSocket → call
    pump_events                              call → WebSocket

Everything is bounded. While the service takes no audio, the inbox fills and then the WebSocket is
no longer read; while the client takes no messages, the call is no longer read. No audio is written
before the service's `ready`, so none is lost however many attempts the call needs; and a call that
breaks in the middle is replayed (`gateway.replay`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any

import grpc
from starlette.websockets import WebSocket, WebSocketDisconnect
from structlog.stdlib import BoundLogger

from client.rpc.errors import ServerFull, ServerUnavailable, SttError, error_from_rpc
from client.rpc.retry import Retry
from client.rpc.writing import write_request
from gateway.authorization import make_caller_metadata
from gateway.closing import (
    CLIENT_GONE,
    FINISHED,
    Closing,
    close_for_bad_request,
    close_for_error,
    close_for_too_big,
    close_for_violation,
)
from gateway.config import GatewayConfig
from gateway.inbox import Budgets, Inbox
from gateway.metrics import GatewayMetrics
from gateway.protocol import (
    Command,
    End,
    Json,
    decode_command,
    encode_error,
    encode_event,
    encode_message,
    encode_ping,
)
from gateway.query import ProtocolError, StreamOptions, asks_for_events
from gateway.replay import Replay, Response
from gateway.upstream import Admission, Call, Upstream
from stt_service.process.tasks import first_of

SAY_GOODBYE_S = 5.0
SMALL_BYTES = 1024
"""10.7 ms of float32 audio at 24 kHz."""
SMALL_WRITE_S = 0.01
"""How far apart writes of less than `SMALL_BYTES` are, so that tiny messages share one request."""

STREAM_EXTENSION = "stt.stream"
"""Of the ASGI scope, if the server is ours: see `gateway.serving.websocket`."""


class Bridge:
    """Carries one accepted WebSocket's audio to the service and the service's events back."""

    def __init__(
        self,
        websocket: WebSocket,
        upstream: Upstream,
        config: GatewayConfig,
        metrics: GatewayMetrics,
        log: BoundLogger,
        budgets: Budgets,
    ) -> None:
        self._websocket = websocket
        self._upstream = upstream
        self._config = config
        self._metrics = metrics
        self.log = log
        # Known even if the query is refused.
        self._wants_reasons = asks_for_events(websocket.url.query)
        self._budgets = budgets
        self._inbox = Inbox(config.buffer_bytes, budgets.waiting)
        self._stopped: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        self._started_s = time.monotonic()
        self._first_audio_s: float | None = None
        self._first_token_sent = False
        self._waits = asyncio.Event()
        self._waits.set()
        self.audio_bytes = 0
        self.retries = 0

    @property
    def admitted(self) -> bool:
        """Whether the service has let the session in, and its call has not broken."""
        return not self._waits.is_set()

    async def run(self, options: StreamOptions) -> Closing:
        """Serve the session until one side ends it; returns how. Does not close the WebSocket."""
        try:
            return await first_of(
                self.converse(options),
                self.receive_messages(),
                self.send_pings(),
                self._wait_for_stop(),
            )
        finally:
            self._inbox.clear()

    def stop(self, closing: Closing) -> None:
        """End the session from outside."""
        if not self._stopped.done():
            self._stopped.set_result(closing)

    async def say_goodbye(self, closing: Closing) -> None:
        """Send the `error`, if there is one, and close. Gives up on a client that reads neither."""
        if closing.code is None:
            return
        # Starlette raises RuntimeError where the other side has closed already.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(SAY_GOODBYE_S):
                if closing.error is not None:
                    reason = closing.reason if self._wants_reasons else None
                    await self._send(encode_error(closing.error, reason))
                await self._websocket.close(closing.code, closing.text)

    async def receive_messages(self) -> Closing:
        """Put what the client sends into the inbox, until it leaves or breaks a rule."""
        ended = False
        while True:
            try:
                item = self._read_message(await self._websocket.receive())
            except ProtocolError as error:
                return close_for_bad_request(str(error))
            if isinstance(item, Closing):
                return item
            # A microphone may send one more message after `end`; it is ignored.
            if not ended:
                await self._inbox.put(item)
            ended = ended or isinstance(item, End)

    async def converse(self, options: StreamOptions) -> Closing:
        """Open a call and pump both ways until the session ends; replay a call that breaks."""
        replay = Replay(options.config, self._inbox, self._config.buffer_bytes)
        retry = Retry(lambda _: self._config.patience_s)
        broken: SttError | None = None
        try:
            while True:
                replay.begin(str(broken) if broken is not None else None)
                error = await self._try_call(options, replay)
                if error is None:
                    return FINISHED
                if self.admitted and replay.is_worth_another_call(error):
                    broken = error
                    retry.reset()
                    self._note_break(str(error))
                elif isinstance(error, ServerFull) and broken is not None and not self.admitted:
                    # The others came back before this one; some of them will end.
                    await retry.pause(broken)
                else:
                    # A service that stays away is no news: say why it left.
                    is_away = isinstance(error, ServerUnavailable) and not self.admitted
                    raise broken if broken is not None and is_away else error
        except WebSocketDisconnect:
            return CLIENT_GONE
        except SttError as error:
            return await self._fail(error, options, replay)

    async def _try_call(self, options: StreamOptions, replay: Replay) -> SttError | None:
        """Carry one call to its end; returns why it failed, or None if the session is complete."""
        try:
            async with self._upstream.admit(
                options.config,
                self._config.patience_s,
                self._note_retry,
                make_caller_metadata(self._websocket.scope),
            ) as admission:
                self._note_admission(admission)
                await first_of(
                    self.pump_events(admission, options, replay),
                    self.pump_audio(admission.call, replay),
                )
                return None
        except grpc.aio.AioRpcError as rpc_error:
            return error_from_rpc(rpc_error)
        except SttError as error:
            return error

    async def _fail(self, error: SttError, options: StreamOptions, replay: Replay) -> Closing:
        try:
            await self._pass_on(replay.finish(), options)
        except WebSocketDisconnect:
            return CLIENT_GONE
        return close_for_error(error)

    async def send_pings(self) -> Closing:
        """Send pings while the service has not admitted the session, or its call broke."""
        while True:
            await self._waits.wait()
            await asyncio.sleep(self._config.ping_interval_s)
            try:
                if self._waits.is_set():
                    await self._send(encode_ping())
            except WebSocketDisconnect:
                return CLIENT_GONE

    async def pump_audio(self, call: Call, replay: Replay) -> None:
        """Write what the client sent, in order, as fast as the service accepts it."""
        while (request := await replay.next_request()) is not None:
            # pump_events reports why the call has ended.
            if not await write_request(call, request):
                return
            if request.HasField("audio") and len(request.audio) < SMALL_BYTES:
                await asyncio.sleep(SMALL_WRITE_S)
        # A call that has ended by itself need not be half-closed.
        with contextlib.suppress(grpc.aio.BaseError):
            await call.done_writing()

    async def pump_events(
        self, admission: Admission, options: StreamOptions, replay: Replay
    ) -> Closing:
        """Send the service's events, as fast as the client reads them, until the call ends."""
        await self._pass_on(replay.accept(admission.ready), options)
        async for response in admission.responses:
            await self._pass_on(replay.accept(response), options)
        await self._pass_on(replay.finish(), options)
        return FINISHED

    def _note_break(self, reason: str) -> None:
        self._waits.set()
        self._inbox.move_to(self._budgets.waiting)
        self._started_s = time.monotonic()
        self._metrics.replays.inc()
        self.log.warning("session broken off, to be replayed", reason=reason)

    def _note_admission(self, admission: Admission) -> None:
        waited_s = time.monotonic() - self._started_s
        self._metrics.admission_seconds.observe(waited_s)
        self._waits.clear()
        self._inbox.move_to(self._budgets.admitted)
        extensions: Any = self._websocket.scope.get("extensions") or {}
        if STREAM_EXTENSION in extensions:
            extensions[STREAM_EXTENSION]["admit"]()
        self.log = self.log.bind(session_id=admission.ready.ready.session_id)
        self.log.info("session admitted", waited_s=round(waited_s, 3), retries=self.retries)

    async def _wait_for_stop(self) -> Closing:
        return await self._stopped

    def _read_message(self, message: Any) -> bytes | Command | Closing:
        if message["type"] == "websocket.disconnect":
            return CLIENT_GONE
        if (violation := message.get("violation")) is not None:
            code, fault = violation
            return close_for_violation(code, fault, self._config.max_message_bytes)
        audio: bytes | None = message.get("bytes")
        text: str = message.get("text") or ""
        size = len(text) if audio is None else len(audio)
        if size > self._config.max_message_bytes:
            return close_for_too_big(self._config.max_message_bytes)
        if audio is None:
            return decode_command(text)
        if audio and self._first_audio_s is None:
            self._first_audio_s = time.monotonic()
        self.audio_bytes += size
        self._metrics.audio_bytes.inc(size)
        return audio

    async def _pass_on(self, responses: Iterable[Response], options: StreamOptions) -> None:
        for response in responses:
            message = encode_event(response, options)
            if message is not None:
                await self._send(message)

    async def _send(self, message: Json) -> None:
        try:
            await self._websocket.send_text(encode_message(message))
        except RuntimeError as error:
            # Starlette and uvicorn raise this when the connection broke before its close was read.
            raise WebSocketDisconnect from error
        kind: str = message["type"]
        self._metrics.messages.labels(kind).inc()
        if kind == "token" and not self._first_token_sent and self._first_audio_s is not None:
            self._first_token_sent = True
            self._metrics.first_token_seconds.observe(time.monotonic() - self._first_audio_s)

    def _note_retry(self, reason: SttError) -> None:
        self.retries += 1
        self._metrics.upstream_retries.inc()
        self.log.info("waiting for the service", reason=str(reason), retries=self.retries)
