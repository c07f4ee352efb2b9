"""A WebSocket's address and opening handshake, and why one was refused."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast
from urllib.parse import SplitResult, quote, urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    InvalidHandshake,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
)
from websockets.http11 import Response

from client.rpc.endpoint import Credentials
from client.rpc.errors import (
    NoSuchService,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    error_from_http,
)
from client.rpc.probe import find_obstacle, is_silent_behind_tls
from client.rpc.proxy import find_proxy
from client.rpc.retry import OnWait, Waiting
from client.rpc.route import Protocol, Route, error_from_proxy
from client.rpc.trust import make_context, read_trusted_roots
from stt_service.process.address import to_ascii_host

STREAM_PATH = "/v1/stream"
_SCHEMES = ("ws", "wss")
CONNECT_TIMEOUT_S = 10.0
# Behind TLS there may be an edge that answers the handshake only once a container runs.
ANSWER_TIMEOUT_S = 60.0
# Without an answer for this long, it is found out whether there is such an edge.
SUSPICIOUS_AFTER_S = 5.0
# Modal's edge is known to hold the handshake during a cold start: it need not prove itself.
HOLDING_DOMAIN = ".modal.run"
# Without TLS there is none: our gateway answers at once.
PLAIN_ANSWER_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0

_BAD_REQUEST = 400
_EXPLAINED = frozenset({403, 503})
_MAX_HINT = 200
_PATH_SIGNS = "/%:@!$&'()*+,;=~"


def _find_fault(parts: SplitResult) -> str | None:
    """What an address has too much or too little."""
    if not parts.netloc:
        return "it has no scheme" if parts.scheme not in _SCHEMES else "it names no host"
    if parts.scheme not in _SCHEMES:
        return f"it has the scheme {parts.scheme!r}; known are ws and wss"
    if not parts.hostname:
        return "it names no host"
    if parts.username is not None:
        return "it holds a user name"
    if parts.query or parts.fragment:
        return "something follows its path"
    return None


@dataclass(frozen=True)
class WebSocketAddress:
    """The gateway's address, and the credentials for it."""

    url: str
    credentials: Credentials | None = None
    root_certificates: str | None = None
    """PEM text; None means the system's own trust."""

    @classmethod
    def parse(
        cls,
        url: str,
        credentials: Credentials | None = None,
        root_certificates: str | None = None,
    ) -> WebSocketAddress:
        """Read `ws://host:port`, `wss://host` with or without the path.

        Raises ValueError, with a sentence for the person who typed the address.
        """
        try:
            parts = urlsplit(url)
            host = to_ascii_host(parts.hostname or "")
            if fault := _find_fault(parts):
                raise ValueError(fault)
            host = f"[{host}]" if ":" in host else host
            place = host if parts.port is None else f"{host}:{parts.port}"
        except ValueError as error:
            raise ValueError(
                f"The WebSocket address {url!r} is not understood: {error}. "
                f"Write it like ws://127.0.0.1:8000{STREAM_PATH} or wss://example.modal.run."
            ) from error
        path = quote(parts.path, _PATH_SIGNS) if parts.path not in ("", "/") else STREAM_PATH
        return cls(f"{parts.scheme}://{place}{path}", credentials, root_certificates)

    @property
    def headers(self) -> dict[str, str]:
        """The documented credential headers."""
        if self.credentials is None:
            return {}
        return {"Modal-Key": self.credentials.key, "Modal-Secret": self.credentials.secret}

    def find_route(self) -> Route:
        """How to get there from this machine, by whom to trust and which proxy leads there.

        Raises ValueError for certificates or a variable of the environment that cannot be used.
        """
        parts = urlsplit(self.url)
        secure = parts.scheme == "wss"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        context = None
        if secure:
            given = self.root_certificates
            context = make_context(given.encode() if given else read_trusted_roots())
        proxy = find_proxy(host, port, parts.scheme, secure=secure)
        if proxy is not None and proxy.is_socks and not importlib.util.find_spec("python_socks"):
            raise ValueError(
                f"A WebSocket through {proxy} needs one more package: pip install python-socks. "
                "Or name an HTTP proxy in its place."
            )
        return Route(host, port, Protocol.WEBSOCKET, context, proxy)


async def shake_hands(
    address: WebSocketAddress, query: Sequence[tuple[str, str]], on_wait: OnWait | None = None
) -> ClientConnection:
    """An open WebSocket. Raises the `SttError` that says why there is none.

    `on_wait` is called if an edge holds the handshake, as one does during a cold start.
    """
    route = address.find_route()
    watch = _Watch(route, on_wait)
    try:
        async with watch.limited():
            return await _connect(address, query, route, watch.note_connected)
    except InvalidStatus as error:
        raise await _error_from_response(route, error.response) from error
    except InvalidProxyStatus as error:
        assert route.proxy is not None
        raise error_from_proxy(route.proxy, route.place, error.response.status_code) from error
    except TimeoutError as error:
        raise await watch.explain() from error
    except (InvalidHandshake, EOFError, OSError) as error:
        raise await find_obstacle(route) or _error_from_handshake(route, error) from error


class _Watch:
    """Bounds an opening handshake, and finds out meanwhile whether it is worth the wait."""

    def __init__(self, route: Route, on_wait: OnWait | None) -> None:
        self._route = route
        self._on_wait = on_wait
        self._limit = asyncio.timeout(CONNECT_TIMEOUT_S)
        self._answer_timeout_s = ANSWER_TIMEOUT_S if route.context else PLAIN_ANSWER_TIMEOUT_S
        self._looking: asyncio.Task[None] | None = None
        self._is_silent = False

    @contextlib.asynccontextmanager
    async def limited(self) -> AsyncGenerator[None]:
        """Raise TimeoutError in the block when it takes too long."""
        try:
            async with self._limit:
                yield
        finally:
            if self._looking is not None:
                self._looking.cancel()
                await asyncio.wait([self._looking])

    def note_connected(self) -> None:
        """The connection, with its TLS, is made; now the server has to answer."""
        self._expire_in(self._answer_timeout_s)
        if self._route.context is not None:
            self._looking = asyncio.create_task(self._look())

    async def explain(self) -> SttError:
        """Why there was no answer."""
        place = self._route.place
        if self._is_silent:
            return ServerUnreachable(
                f"The server at {place} completes the TLS handshake and then says nothing."
            )
        if self._looking is not None:
            return self._slow(f"did not answer within {self._answer_timeout_s:g} s")
        return await find_obstacle(self._route) or ServerUnreachable(
            f"The server at {place} takes connections and answers no WebSocket handshake."
        )

    async def _look(self) -> None:
        await asyncio.sleep(SUSPICIOUS_AFTER_S)
        if not self._route.host.endswith(HOLDING_DOMAIN):
            self._is_silent = await is_silent_behind_tls(self._route)
        if self._is_silent:
            self._expire_in(0.0)
        elif self._on_wait is not None:
            told = self._on_wait(Waiting(self._slow("has not answered yet"), SUSPICIOUS_AFTER_S))
            if told is not None:
                await told

    def _slow(self, what: str) -> ServerUnavailable:
        return ServerUnavailable(f"The service at {self._route.place} {what}; it may be starting.")

    def _expire_in(self, seconds: float) -> None:
        # Not if the time has run out already.
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + seconds)


async def _connect(
    address: WebSocketAddress,
    query: Sequence[tuple[str, str]],
    route: Route,
    on_connected: Callable[[], None],
) -> ClientConnection:
    tls: dict[str, Any] = {"ssl": route.context} if route.context else {}
    if route.proxy is not None and route.proxy.scheme == "https":
        tls["proxy_ssl"] = route.context or make_context(read_trusted_roots())
    return await _Connect(
        f"{address.url}?{urlencode(query)}",
        additional_headers=address.headers,
        # Samples do not compress; events are small.
        compression=None,
        proxy=route.proxy.url if route.proxy else None,
        open_timeout=None,
        close_timeout=CLOSE_TIMEOUT_S,
        max_size=None,
        create_connection=cast("type[ClientConnection]", partial(_Socket, on_connected)),
        **tls,
    )


class _Connect(connect):
    """Follows no redirect: it would send the token to any host that the answer names."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Socket(ClientConnection):
    """Calls back when the network connection is made and the handshake begins."""

    def __init__(self, on_connected: Callable[[], None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._on_connected = on_connected

    async def handshake(self, *args: Any, **options: Any) -> None:
        self._on_connected()
        await super().handshake(*args, **options)


def _error_from_handshake(route: Route, error: Exception) -> SttError:
    if isinstance(error, ProxyError):
        return ServerUnavailable(f"{route.proxy} did not lead to {route.place}: {error}.")
    # A response that stops in its middle is a broken connection; any other is an answer.
    if isinstance(error, InvalidHandshake) and not isinstance(error.__cause__, EOFError):
        reason = error.__cause__ or error
        return NoSuchService(
            f"The server at {route.place} does not answer as a WebSocket: {reason}."
        )
    return ServerUnavailable(f"The service at {route.place} broke off the WebSocket handshake.")


async def _error_from_response(route: Route, response: Response) -> SttError:
    status = response.status_code
    if status == _BAD_REQUEST and (obstacle := await find_obstacle(route)):
        # Some servers answer in plain HTTP that they want TLS.
        return obstacle
    if location := response.headers.get("Location"):
        return error_from_http(status, hint=f"to {location[:_MAX_HINT]}")
    hint = ""
    # Our gateway explains its 403 and 503 in the body.
    is_text = response.headers.get("Content-Type", "").startswith("text/plain")
    if is_text and status in _EXPLAINED:
        hint = bytes(response.body).decode(errors="replace").partition("\n")[0]
    hint = "".join(filter(str.isprintable, hint)).strip(" .")
    return error_from_http(status, hint=hint[:_MAX_HINT])
