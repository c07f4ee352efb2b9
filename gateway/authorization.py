"""Who may use the gateway: a key for everything but health, and the names it is called by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Set
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.client_socket import address_of, refuse
from gateway.config import GatewayConfig
from gateway.metrics import GatewayMetrics
from gateway.protocols import find_door, moshi_http, moshi_server
from gateway.protocols.codec import Handshake
from gateway.upstream import Metadata, calling_for
from stt_service.process.access import Access
from stt_service.process.address import is_loopback_name, split_host_port
from stt_service.process.keys import AUTHORIZATION_HEADER, read_tokens
from stt_service.process.logs import OccasionalLog, get_logger

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
INFO_PATHS = frozenset({"/v1/info", "/metrics"})

# A browser asks its user for name and secret, and sends them with the page's WebSocket too.
CHALLENGE = {"WWW-Authenticate": 'Basic realm="speech to text", charset="UTF-8"'}
KEY_WANTED = (
    "A key is needed here. Send its name and secret as the headers Modal-Key and Modal-Secret, or "
    "KEY:SECRET as Authorization: Bearer.\n"
)
_MOSHI_PATHS = (moshi_http.BUILD_INFO_PATH, moshi_http.MODULES_INFO_PATH)
OTHER_HOST = "The gateway is not called so. Start it with --allow-host and the name if it is.\n"


class CallerCheck:
    """ASGI middleware that answers callers without a key, or with a host name that is not ours."""

    def __init__(self, app: ASGIApp, config: GatewayConfig, metrics: GatewayMetrics) -> None:
        self._app = app
        self._access = config.access
        self._allow_hosts = config.allow_hosts
        self._metrics = metrics
        self._log = OccasionalLog(get_logger(__name__))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind, path = scope["type"], scope.get("path", "")
        is_health = kind == "http" and path in HEALTH_PATHS
        if kind == "lifespan" or is_health:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not is_host_allowed(headers.get("host", ""), self._allow_hosts):
            answer = PlainTextResponse(OTHER_HOST, HTTPStatus.MISDIRECTED_REQUEST)
            await self._refuse(answer, "host", scope, receive, send)
            return
        tokens = find_tokens(scope)
        token = choose_token(self._access, tokens)
        is_open = kind == "http" and self._access.open_info and path in INFO_PATHS
        if token is None and self._access.keys is not None and not is_open:
            answer = PlainTextResponse(KEY_WANTED, HTTPStatus.UNAUTHORIZED, CHALLENGE)
            await self._refuse(answer, "key", scope, receive, send)
            return
        # Its tasks inherit it: every call of the service that they make is this caller's.
        with calling_for(make_metadata(token)):
            await self._app(scope, receive, send)

    async def _refuse(
        self, answer: PlainTextResponse, reason: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._log.warning("request refused", reason=reason, client=address_of(scope))
        if scope["type"] == "http":
            await answer(scope, receive, send)
            return
        self._metrics.refused.labels(reason).inc()
        await refuse(WebSocket(scope, receive, send), answer)


def find_tokens(scope: Scope) -> list[str]:
    """All that a request presents as a key, in the places of every protocol at its path."""
    headers = dict(Headers(scope=scope))
    tokens = read_tokens(headers)
    path = scope["path"].rstrip("/")
    door = moshi_server.DOOR if path in _MOSHI_PATHS else find_door(path)
    if door is not None:
        query = scope.get("query_string", b"").decode("latin-1")
        if token := door.key_places.find_token(Handshake(query, headers)):
            tokens.append(token)
    return tokens


def choose_token(access: Access, tokens: Iterable[str]) -> str | None:
    """The token that is to open the service behind the gateway.

    With keys the one that is right, or None; without, the first: whoever asks for keys may be
    behind this gateway.
    """
    if access.keys is None:
        return next(iter(tokens), None)
    return next((token for token in tokens if access.find([token]) is not None), None)


def make_metadata(token: str | None) -> Metadata:
    """A caller's own key, for calls of the service behind the gateway; empty without one."""
    # What gRPC cannot send is no key of ours.
    if token is None or not token.isascii() or not token.isprintable():
        return ()
    return ((AUTHORIZATION_HEADER, f"Bearer {token}"),)


def is_host_allowed(host: str, allow_hosts: Set[str]) -> bool:
    """Whether a request's Host is a name of this gateway. Without a list, each is.

    Another site's name may be made to resolve to this machine (DNS rebinding); a number, or a name
    that is always the visitor's own machine, cannot.
    """
    if not allow_hosts:
        return True
    try:
        name, _ = split_host_port(host)
    except ValueError:
        return False
    return name in allow_hosts or is_loopback_name(name) or _is_number(name)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
