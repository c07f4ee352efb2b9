"""All WebSocket sessions of one gateway: admission, serving, draining."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Iterable

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect
from structlog.stdlib import BoundLogger

from gateway.bridge import Bridge
from gateway.client_socket import ClientSocket, address_of, refuse
from gateway.closing import (
    CLIENT_GONE,
    GATEWAY_RESTARTS,
    Closing,
    Outcome,
    close_for_gateway_fault,
)
from gateway.config import GatewayConfig
from gateway.inbox import Budgets
from gateway.metrics import GatewayMetrics
from gateway.protocols.codec import Door
from gateway.protocols.documented_query import hide_unknown
from gateway.security import is_origin_allowed
from gateway.upstream import Upstream
from stt_service.process.logs import get_logger
from stt_service.process.tasks import first_of

FORBIDDEN = 403
UNAVAILABLE = 503

_log = get_logger(__name__)


class Sessions:
    """Serves WebSockets and keeps track of open ones. Create it in the event loop that uses it."""

    def __init__(self, config: GatewayConfig, upstream: Upstream, metrics: GatewayMetrics) -> None:
        self._config = config
        self._upstream = upstream
        self._metrics = metrics
        self._budgets = Budgets.of(config.max_buffered_bytes)
        metrics.buffered_bytes.set_function(self._count_buffered)
        self._open: set[Bridge] = set()
        self._all_gone = asyncio.Event()
        self._all_gone.set()
        self._hurried = asyncio.Event()
        self.draining = False

    async def serve(self, websocket: WebSocket, door: Door) -> None:
        """Serve one WebSocket of a protocol, from its handshake to its close."""
        connection = secrets.token_hex(4)
        log = _log.bind(connection=connection, protocol=door.name)
        if self.draining:
            await self._refuse(websocket, log, UNAVAILABLE, "draining", "The gateway is restarting")
            return
        if not is_origin_allowed(
            websocket.headers,
            self._config.allow_origins,
            local_only=self._config.local_only,
            allow_hosts=self._config.allow_hosts,
        ):
            text = (
                "Pages of this origin may not connect. Start the gateway with --allow-origin "
                "and the page's origin if they should"
            )
            await self._refuse(websocket, log, FORBIDDEN, "origin", text)
            return
        if sum(not bridge.admitted for bridge in self._open) >= self._config.max_waiting:
            text = "Too many sessions wait for the service. Try again later"
            await self._refuse(websocket, log, UNAVAILABLE, "waiting", text)
            return
        client = ClientSocket(websocket, door, self._config, self._metrics, connection)
        await self._serve(client, door, log)

    def _count_buffered(self) -> float:
        return self._budgets.waiting.held_bytes + self._budgets.admitted.held_bytes

    async def _serve(self, client: ClientSocket, door: Door, log: BoundLogger) -> None:
        config, metrics = self._config, self._metrics
        codec = door.make_codec(client.handshake)
        bridge = Bridge(client, door, codec, self._upstream, config, metrics, log, self._budgets)
        # Added before the accept, so that a drain that starts meanwhile waits for this one too.
        self._open.add(bridge)
        self._all_gone.clear()
        metrics.sessions_open.inc()
        started_s = time.monotonic()
        closing = close_for_gateway_fault()
        try:
            closing = await self._carry(client, bridge)
        finally:
            self._open.discard(bridge)
            metrics.sessions_open.dec()
            code = str(int(closing.code)) if closing.code is not None else "none"
            # What is said of a bad request may quote it, and so a key in the wrong place.
            quotes = closing.outcome is Outcome.BAD_REQUEST
            error = {} if quotes or not closing.error else {"error": closing.error}
            metrics.sessions.labels(closing.outcome, code).inc()
            bridge.log.info(
                "session closed",
                outcome=closing.outcome,
                close_code=code,
                seconds=round(time.monotonic() - started_s, 3),
                audio_bytes=bridge.audio_bytes,
                retries=bridge.retries,
                **({"reason": closing.reason} if closing.error else {}),
                **error,
            )
            if not self._open:
                self._all_gone.set()

    async def drain(self, grace_s: float) -> None:
        """Refuse new sessions, let admitted ones finish, and end the rest after the grace period.

        Sessions that still wait for the service are ended at once.
        """
        self.draining = True
        self._stop(bridge for bridge in self._open if not bridge.admitted)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await first_of(self._all_gone.wait(), self._hurried.wait())
        self._stop(self._open)
        await self._all_gone.wait()

    def hurry(self) -> None:
        """End the grace period now."""
        self._hurried.set()

    def _stop(self, bridges: Iterable[Bridge]) -> None:
        for bridge in bridges:
            bridge.stop(GATEWAY_RESTARTS)

    async def _carry(self, client: ClientSocket, bridge: Bridge) -> Closing:
        try:
            await client.accept()
        except WebSocketDisconnect:
            return CLIENT_GONE
        # Of what nobody knows the value is not logged: it may be a key.
        query = hide_unknown(client.handshake.query)
        bridge.log.info("session opened", client=client.address, query=query)
        try:
            closing = await bridge.run()
        except Exception:
            bridge.log.error("session failed", exc_info=True)
            closing = close_for_gateway_fault()
        await bridge.say_goodbye(closing)
        return closing

    async def _refuse(
        self, websocket: WebSocket, log: BoundLogger, status: int, reason: str, text: str
    ) -> None:
        self._metrics.refused.labels(reason).inc()
        log.warning("session refused", reason=reason, client=address_of(websocket.scope))
        await refuse(websocket, PlainTextResponse(f"{text}.\n", status))
