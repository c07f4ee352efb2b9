"""Who may use the gateway: a key for everything but health, and the names it is called by."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Set
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gateway.config import GatewayConfig
from gateway.metrics import GatewayMetrics
from gateway.protocols import find_door
from gateway.protocols.codec import Handshake
from stt_service.process.access import Access
from stt_service.process.address import is_loopback_name, split_host_port
from stt_service.process.keys import AUTHORIZATION_HEADER, read_tokens
from stt_service.process.logs import OccasionalLog, get_logger

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
INFO_PATHS = frozenset({"/v1/info", "/metrics"})

TOKEN = "stt.token"  # nosec B105
"""In an ASGI scope: what the caller has presented, if it presented anything."""

# A browser asks its user for name and secret, and sends them with the page's WebSocket too.
CHALLENGE = {"WWW-Authenticate": 'Basic realm="speech to text", charset="UTF-8"'}
KEY_WANTED = (
    "A key is needed here. Send its name and secret as the headers Modal-Key and Modal-Secret, or "
    "KEY:SECRET as Authorization: Bearer.\n"
)
OTHER_HOST = "The gateway is not called so. Start it with --allow-host and the name if it is.\n"

Metadata = tuple[tuple[str, str], ...]


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
        await self._app({**scope, TOKEN: token}, receive, send)

    async def _refuse(
        self, answer: PlainTextResponse, reason: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        client = scope.get("client")
        self._log.warning(
            "request refused", reason=reason, client=client[0] if client else "unknown"
        )
        if scope["type"] == "http":
            await answer(scope, receive, send)
            return
        self._metrics.refused.labels(reason).inc()
        websocket = WebSocket(scope, receive, send)
        if "websocket.http.response" in scope.get("extensions", {}):
            await websocket.send_denial_response(answer)
        else:
            # Without that extension, an ASGI server answers a close before the accept with 403.
            await websocket.close()


def find_tokens(scope: Scope) -> list[str]:
    """All that a request presents as a key, in the places of every protocol at its path."""
    headers = dict(Headers(scope=scope))
    tokens = read_tokens(headers)
    door = find_door(scope["path"]) if scope["type"] == "websocket" else None
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


def make_caller_metadata(scope: Mapping[str, object]) -> Metadata:
    """The caller's own key, for calls of the service behind the gateway; empty without one."""
    token = scope.get(TOKEN)
    # What gRPC cannot send is no key of ours.
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
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
