"""The gateway as a process: listening, the `ready` line, signals, shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Generator

import uvicorn

from gateway.config import GatewayConfig
from gateway.server import Gateway, create_app
from stt_service.process.listening import address_to_connect_to, addresses_of
from stt_service.process.program import announce

HARD_LIMIT_FACTOR = 4
"""A message up to this many times the limit is read, so that our own `error` can answer it."""

WEBSOCKET_PING_S = 20.0
LEAVE_S = 5
_NO_HANDSHAKE = "ASGI callable returned without completing handshake"


class GatewayServer(uvicorn.Server):
    """A uvicorn server that announces when it listens, and drains its sessions before it stops."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then print the line that scripts wait for."""
        await super().startup(sockets)
        if self.started and sockets:
            announce(f"ready http={address_to_connect_to(addresses_of(sockets))}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let open sessions finish within the grace period, then stop."""
        for server in self.servers:
            server.close()
        await self._gateway.sessions.drain(self._gateway.config.grace_s)
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Shut down gracefully on SIGTERM and SIGINT, at once on the second one."""
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            loop.add_signal_handler(number, self.stop)
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


def make_server(config: GatewayConfig) -> GatewayServer:
    """The gateway's server, not started."""
    # Our own events already report start, stop and requests.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_leave_client_faults_to_us)
    app = create_app(config)
    settings = uvicorn.Config(
        app,
        loop="asyncio",
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=HARD_LIMIT_FACTOR * config.max_message_bytes,
        # Audio does not compress, and live audio must not wait for it.
        ws_per_message_deflate=False,
        # The pings keep middleboxes awake. A pong is no sign of life: it waits behind audio that
        # is held up on purpose. Silence ends a session by the service's idle timeout.
        ws_ping_interval=WEBSOCKET_PING_S,
        ws_ping_timeout=None,
        timeout_graceful_shutdown=LEAVE_S,
    )
    return GatewayServer(settings, app.state.gateway)


async def serve(
    config: GatewayConfig, listening: list[socket.socket], *, with_parent: bool
) -> bool:
    """Serve until a signal or, with `with_parent`, until standard input reaches its end.

    Returns whether it started to serve; if not, the log says why.
    """
    server = make_server(config)
    if with_parent:
        _watch_parent(server)
    await server.serve(listening)
    return server.started


def _leave_client_faults_to_us(record: logging.LogRecord) -> bool:
    """Whether a record of uvicorn's is one to log: not what a client did, and our events tell.

    It has errors of its own, one with a traceback, for text that is not UTF-8 and for a handshake
    that was answered with a refusal or left before an answer.
    """
    is_bad_text = record.exc_info is not None and isinstance(record.exc_info[1], UnicodeDecodeError)
    return not is_bad_text and not record.getMessage().startswith(_NO_HANDSHAKE)


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
