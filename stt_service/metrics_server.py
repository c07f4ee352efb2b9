"""Prometheus metrics over HTTP, at all addresses that the option names."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from socketserver import ThreadingMixIn
from typing import Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,  # pyright: ignore[reportUnknownVariableType]
)

from stt_service.process.listening import address_to_connect_to, addresses_of

# Both are for strangers: a scrape takes milliseconds.
SCRAPE_TIMEOUT_S = 10.0
MAX_SCRAPES = 16

UNAUTHORIZED = "401 Unauthorized"
# Browsers ask their user for name and secret; Prometheus has them as `basic_auth`.
CHALLENGE = ("WWW-Authenticate", 'Basic realm="speech to text"')
_HEADER_PREFIX = "HTTP_"


class MetricsServer:
    """Serves a registry on listening sockets, which it owns, from its start to `stop`.

    In threads of its own: a scrape answers also while the event loop is busy. `may_see` decides
    by a request's headers, with names in lower case, whether it is answered.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        listening: Sequence[socket.socket],
        may_see: Callable[[Mapping[str, str]], bool],
    ) -> None:
        self.address = address_to_connect_to(addresses_of(listening))
        metrics = cast(Any, make_wsgi_app)(registry)  # Typed in part only.

        def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if may_see(_read_headers(environ)):
                return metrics(environ, start_response)
            start_response(UNAUTHORIZED, [CHALLENGE, ("Content-Type", "text/plain")])
            return [b"These metrics are for callers with a key.\n"]

        self._servers = [_HttpServer(each, app) for each in listening]
        for server in self._servers:
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape is no event."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP, without quoting it."""
        super().send_error(code)


class _HttpServer(ThreadingMixIn, WSGIServer):
    """A thread for each caller, of whom there are a few at once, each for a short time."""

    daemon_threads = True

    def __init__(self, listening: socket.socket, app: Any) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)
        self._scrapes = threading.Semaphore(MAX_SCRAPES)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, or close if there are too many."""
        if not self._scrapes.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, but end a caller that sends nothing, or a byte now and then."""
        ending = threading.Timer(SCRAPE_TIMEOUT_S, _end, [request])
        ending.daemon = True
        ending.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            ending.cancel()
            self._scrapes.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: the caller has left."""


def _read_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """WSGI's variables of the request's headers, as they are written in HTTP."""
    return {
        name.removeprefix(_HEADER_PREFIX).replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith(_HEADER_PREFIX)
    }


def _end(connection: socket.socket) -> None:
    """Wake the thread that reads from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
