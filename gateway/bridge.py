"""One session: a WebSocket on one side, a call of the service on the other, two pumps between.

    receive_messages → inbox → pump_audio    WebSocket → call
    pump_events                              call → WebSocket

Everything is bounded. While the service takes no audio, the inbox fills and then the WebSocket is
no longer read; while the client takes no messages, the call is no longer read. No audio is written
before the service's `ready`, so none is lost however many attempts the call needs; and a call that
breaks in the middle is replayed (`gateway.replay`).

What the client's messages mean and what it is told is up to its protocol (`gateway.protocols`): a
codec for each session, and a `Door` with all that has to be known beside it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence

import grpc
from starlette.websockets import WebSocketDisconnect
from structlog.stdlib import BoundLogger

from client.rpc.errors import ServerFull, ServerUnavailable, SttError, error_from_rpc
from client.rpc.messages import to_duration
from client.rpc.retry import Retry
from client.rpc.writing import finish_writing, write_request
from gateway.client_socket import ClientSocket
from gateway.closing import (
    CLIENT_GONE,
    FINISHED,
    NOTHING_SAID,
    Closing,
    close_for_bad_request,
    close_for_error,
)
from gateway.config import GatewayConfig
from gateway.inbox import Budgets, Inbox
from gateway.metrics import GatewayMetrics
from gateway.protocols.codec import Codec, Door, End, Item, Message, ProtocolError, Reply
from gateway.replay import Replay
from gateway.responses import Response
from gateway.terms import find_terms
from gateway.upstream import Admission, Call, Upstream
from stt_service.process.tasks import first_of

SAY_GOODBYE_S = 5.0
SMALL_BYTES = 1024
"""10.7 ms of float32 audio at 24 kHz."""
SMALL_WRITE_S = 0.01
"""How far apart writes of less than `SMALL_BYTES` are, so that tiny messages share one request."""


class Bridge:
    """Carries one accepted WebSocket's audio to the service and the service's events back."""

    def __init__(
        self,
        client: ClientSocket,
        door: Door,
        codec: Codec,
        upstream: Upstream,
        config: GatewayConfig,
        metrics: GatewayMetrics,
        log: BoundLogger,
        budgets: Budgets,
    ) -> None:
        self._client = client
        self._door = door
        self._codec = codec
        self._upstream = upstream
        self._config = config
        self._metrics = metrics
        self.log = log
        self._budgets = budgets
        self._inbox = Inbox(config.buffer_bytes, budgets.waiting)
        self._stopped: asyncio.Future[Closing] = asyncio.get_running_loop().create_future()
        self._started_s = time.monotonic()
        self._first_audio_s: float | None = None
        self._first_token_sent = False
        self._waits = asyncio.Event()
        self._waits.set()
        self._was_admitted = False
        self._has_ended = False
        self._waits_for: SttError | None = None
        self.audio_bytes = 0
        self.retries = 0

    @property
    def admitted(self) -> bool:
        """Whether the service has let the session in, and its call has not broken."""
        return not self._waits.is_set()

    async def run(self) -> Closing:
        """Serve the session until one side ends it; returns how. Does not close the WebSocket."""
        try:
            return await first_of(
                self.converse(),
                self.receive_messages(),
                self.send_pings(),
                self._wait_for_stop(),
            )
        except WebSocketDisconnect:
            return CLIENT_GONE
        finally:
            self._inbox.clear()

    def stop(self, closing: Closing) -> None:
        """End the session from outside."""
        if not self._stopped.done():
            self._stopped.set_result(closing)

    async def say_goodbye(self, closing: Closing) -> None:
        """Send the last messages, if there are any, and close. Gives up on a client that reads
        neither."""
        if closing.code is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SAY_GOODBYE_S):
                await self._client.say_goodbye(self._codec.encode_closing(closing))

    async def receive_messages(self) -> Closing:
        """Put what the client sends into the inbox, until it leaves or breaks a rule."""
        try:
            await self._handle(self._codec.greet())
            while True:
                message = await self._receive()
                if isinstance(message, Closing):
                    return message
                await self._handle(self._codec.decode(message))
        except ProtocolError as error:
            return close_for_bad_request(str(error))

    async def _receive(self) -> Message | Closing:
        """The client's next message; the codec is told if none comes for a while."""
        try:
            async with asyncio.timeout(self._door.stall_s):
                return await self._client.receive()
        except TimeoutError:
            await self._handle(self._codec.stalled())
            return await self._client.receive()

    async def _handle(self, items: Sequence[Item]) -> None:
        """Answer the client, or queue what is for the service."""
        for item in items:
            if isinstance(item, Reply):
                await self._client.send(item.messages, "reply")
                continue
            if isinstance(item, bytes):
                self._note_audio(len(item))
            # A microphone may send one more message after the end; it is ignored.
            if not self._has_ended:
                await self._inbox.put(item)
            self._has_ended = self._has_ended or isinstance(item, End)

    async def converse(self) -> Closing:
        """Open a call and pump both ways until the session ends; replay a call that breaks."""
        replay = Replay(self._inbox, self._config.buffer_bytes)
        retry = Retry(lambda _: self._config.patience_s)
        broken: SttError | None = None
        try:
            async with asyncio.timeout(self._door.first_message_s):
                await replay.take_config()
        except TimeoutError:
            return NOTHING_SAID
        try:
            while True:
                error = await self._try_call(replay, broken)
                if error is None and not replay.is_reopened:
                    return FINISHED
                if error is None:
                    self._note_waiting()
                elif self.admitted and replay.is_worth_another_call(error):
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
        except SttError as error:
            await self._pass_on(replay.finish())
            return close_for_error(error)

    async def _try_call(self, replay: Replay, broken: SttError | None) -> SttError | None:
        """Carry one call to its end; returns why it failed, or None if it has done its part.

        `broken` is why the one before it broke, if one did.
        """
        terms = find_terms(self._door, self._config, is_first=not self._was_admitted)
        config = replay.make_config()
        config.wait_for_slot.CopyFrom(to_duration(terms.slot_wait_s))
        try:
            async with (
                asyncio.timeout(terms.limit_s) as limit,
                self._upstream.admit(config, terms.patience_s, self._note_retry) as admission,
            ):
                limit.reschedule(None)
                self._note_admission(admission)
                replay.begin(None if broken is None else str(broken))
                await first_of(
                    self.pump_events(admission, replay), self.pump_audio(admission.call, replay)
                )
                return None
        except TimeoutError:
            text = f"The service did not answer within {terms.limit_s:g} s."
            return self._waits_for or ServerUnavailable(text)
        except grpc.aio.AioRpcError as rpc_error:
            return error_from_rpc(rpc_error)
        except SttError as error:
            return error

    async def send_pings(self) -> None:
        """Send pings while the service has not admitted the session, or its call broke."""
        while True:
            await self._waits.wait()
            await asyncio.sleep(self._config.ping_interval_s)
            if self._waits.is_set():
                await self._client.send(self._codec.encode_ping(), "ping")

    async def pump_audio(self, call: Call, replay: Replay) -> Closing | None:
        """Write what the client sent, in order, as fast as the service accepts it.

        Returns how the session goes on if the client wants another call instead of this one.
        """
        while (request := await replay.next_request()) is not None:
            # pump_events reports why the call has ended.
            if not await write_request(call, request):
                return None
            if request.HasField("audio") and len(request.audio) < SMALL_BYTES:
                await asyncio.sleep(SMALL_WRITE_S)
        if replay.is_reopened:
            return FINISHED
        await finish_writing(call)
        return None

    async def pump_events(self, admission: Admission, replay: Replay) -> Closing:
        """Send the service's events, as fast as the client reads them, until the call ends."""
        await self._pass_on(replay.accept(admission.ready))
        async for response in admission.responses:
            await self._pass_on(replay.accept(response))
        await self._pass_on(replay.finish())
        return FINISHED

    async def _pass_on(self, responses: Iterable[Response]) -> None:
        for response in responses:
            kind = response.WhichOneof("event") or "unknown"
            await self._client.send(self._codec.encode_event(response), kind)
            if kind == "token" and not self._first_token_sent and self._first_audio_s is not None:
                self._first_token_sent = True
                self._metrics.first_token_seconds.observe(time.monotonic() - self._first_audio_s)

    def _note_audio(self, count: int) -> None:
        if count and self._first_audio_s is None:
            self._first_audio_s = time.monotonic()
        self.audio_bytes += count
        self._metrics.audio_bytes.inc(count)

    def _note_break(self, reason: str) -> None:
        self._note_waiting()
        self._metrics.replays.inc()
        self.log.warning("session broken off, to be replayed", reason=reason)

    def _note_waiting(self) -> None:
        self._waits.set()
        self._inbox.move_to(self._budgets.waiting)
        self._started_s = time.monotonic()

    def _note_admission(self, admission: Admission) -> None:
        waited_s = time.monotonic() - self._started_s
        self._metrics.admission_seconds.observe(waited_s)
        self._waits.clear()
        self._was_admitted = True
        self._inbox.move_to(self._budgets.admitted)
        self._client.note_admission()
        self.log = self.log.bind(session_id=admission.ready.ready.session_id)
        self.log.info("session admitted", waited_s=round(waited_s, 3), retries=self.retries)

    async def _wait_for_stop(self) -> Closing:
        return await self._stopped

    def _note_retry(self, reason: SttError) -> None:
        self._waits_for = reason
        self.retries += 1
        self._metrics.upstream_retries.inc()
        self.log.info("waiting for the service", reason=str(reason), retries=self.retries)
