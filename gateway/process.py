"""The gateway as a process: listening, the `ready` line, signals, shutdown.

uvicorn runs the application and speaks HTTP; accepting connections and the WebSocket are our own
(`gateway.serving`), because they have to be fair and bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import threading
from collections.abc import Generator
from dataclasses import replace
from typing import Any, cast

import uvicorn

from gateway.config import GatewayConfig
from gateway.server import Gateway, create_app
from gateway.serving.acceptor import Acceptor
from gateway.serving.connections import Connection, ConnectionTable, fit_to_descriptors
from gateway.serving.http import MAX_HEAD_BYTES, HttpProtocol
from gateway.serving.pacing import SharedPace
from gateway.serving.websocket import Shared, WebSocketProtocol
from gateway.serving.whole import WholeMessages
from gateway.tls import Reloaded
from stt_service.process.listening import address_to_connect_to, addresses_of
from stt_service.process.logs import OccasionalLog, get_logger
from stt_service.process.program import announce

WEBSOCKET_PING_S = 10.0
"""As moshi-server does; other clients do not mind."""
LARGE_MESSAGES_SHARE = 4
"""Messages that have to be whole may take one part in so many of what audio may take."""
LEAVE_S = 5

_log = get_logger(__name__)


class GatewayServer(uvicorn.Server):
    """A uvicorn server that announces when it listens, and drains its sessions before it stops."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway, log: OccasionalLog) -> None:
        super().__init__(config)
        self._gateway = gateway
        self.occasional_log = log
        settings = gateway.config
        whole = WholeMessages(settings.max_buffered_bytes / LARGE_MESSAGES_SHARE)
        self._shared = Shared(SharedPace(), whole, log)
        table = self._table = ConnectionTable(settings.max_connections)
        gateway.metrics.connections_open.set_function(lambda: len(table))
        self._tls: Reloaded[ssl.SSLContext] | None = None
        if settings.tls is not None:
            self._tls = Reloaded(settings.tls.paths, settings.tls.load)
        self._acceptor = Acceptor(table, self._make_protocol, self._find_context, log)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then print the line that scripts wait for."""
        await self.lifespan.startup()
        if self.lifespan.should_exit or not sockets:
            self.should_exit = True
            return
        # uvicorn's own listeners, of which there are none.
        self.servers = []
        self._acceptor.start(sockets)
        self.started = True
        announce(f"ready http={address_to_connect_to(addresses_of(sockets))}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let open sessions finish within the grace period, then stop."""
        self._acceptor.close()
        await self._gateway.sessions.drain(self._gateway.config.grace_s)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._table.gone.wait()
        await self._acceptor.end_all()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Shut down gracefully on SIGTERM and SIGINT, at once on the second one."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, self.stop)
        if self._gateway.config.access.keys_path is not None:
            before[signal.SIGHUP] = signal.getsignal(signal.SIGHUP)
            loop.add_signal_handler(signal.SIGHUP, lambda: self._gateway.config.access.reload(_log))
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def stop(self) -> None:
        """Start to shut down; a second call ends the grace period."""
        if self.should_exit:
            self._gateway.sessions.hurry()
        self.should_exit = True

    def _find_context(self) -> ssl.SSLContext | None:
        return self._tls.get() if self._tls is not None else None

    def _make_protocol(self, connection: Connection) -> HttpProtocol:
        return HttpProtocol(
            self.config,
            self.server_state,
            self.lifespan.state,
            connection=connection,
            shared=self._shared,
        )


def make_server(config: GatewayConfig) -> GatewayServer:
    """The gateway's server, not started."""
    log = OccasionalLog(_log)
    # Our own events already report start, stop and requests.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    app = create_app(config)
    settings = uvicorn.Config(
        app,
        loop="asyncio",
        # For uvicorn to recognise WebSocket requests; HttpProtocol makes the objects itself.
        ws=cast("Any", WebSocketProtocol),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn believes whatever comes from this machine, unless it is told whom to believe.
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=list(config.trusted_proxies),
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws_max_size=config.max_message_bytes,
        # The pings keep middleboxes awake. A pong is no sign of life: it waits behind audio that
        # is held up on purpose. Silence ends a session by the service's idle timeout.
        ws_ping_interval=WEBSOCKET_PING_S,
        timeout_graceful_shutdown=LEAVE_S,
    )
    return GatewayServer(settings, app.state.gateway, log)


async def serve(
    config: GatewayConfig, listening: list[socket.socket], *, with_parent: bool
) -> bool:
    """Serve until a signal or, with `with_parent`, until standard input reaches its end.

    Returns whether it started to serve; if not, the log says why.
    """
    limit = fit_to_descriptors(config.max_connections)
    server = make_server(replace(config, max_connections=limit))
    # uvicorn's HTTP logs what strangers send, a line for each.
    logging.getLogger("uvicorn.error").addFilter(_StrangersFaults(server.occasional_log))
    if with_parent:
        _watch_parent(server)
    await server.serve(listening)
    return server.started


class _StrangersFaults(logging.Filter):
    """Counts uvicorn's warnings about what a client sent, in place of logging each."""

    def __init__(self, log: OccasionalLog) -> None:
        super().__init__()
        self._log = log

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        self._log.warning("bad HTTP request", error=record.getMessage())
        return False


def _watch_parent(server: GatewayServer) -> None:
    loop = asyncio.get_running_loop()

    def leave() -> None:
        # The parent and the service it ran are gone, so no session can finish.
        server.stop()
        server.stop()

    def wait_for_end() -> None:
        # os.read, because a daemon thread that holds sys.stdin's lock would block interpreter exit.
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(leave)

    threading.Thread(target=wait_for_end, name="parent-watch", daemon=True).start()
