"""The origin check for WebSockets, and the security headers of every HTTP response."""

from collections.abc import Set
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stt_service.process.address import is_loopback

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "worker-src 'self'",
        "img-src 'self' data:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Browsers revalidate, so a new version of the page is used at once; unchanged files cost a 304.
    "Cache-Control": "no-cache",
}


class SecurityHeaders:
    """Adds the security headers to every HTTP response that has not set them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def is_origin_allowed(
    headers: Headers,
    allow_origins: Set[str],
    *,
    local_only: bool,
    allow_hosts: Set[str] = frozenset(),
) -> bool:
    """Whether this origin may open a WebSocket: our own page, a listed one, or no page at all.

    Browsers always send `Origin`, and a page cannot change it; other programs send none. Our own
    page has the host of the request as its origin. With `local_only` that host must be a loopback
    name or in `allow_hosts`: another site's name could resolve to this machine (DNS rebinding).
    """
    origin = headers.get("origin")
    if origin is None:
        return True
    place = _place(origin)
    if place is None:
        return False
    if any(place == _place(allowed) for allowed in allow_origins):
        return True
    scheme, host, _port = place
    if local_only and not is_loopback(host) and host not in allow_hosts:
        return False
    # The scheme cannot be compared: behind an edge that ends TLS this side sees plain HTTP.
    return place == _place(f"{scheme}://{headers.get('host', '')}")


def _place(origin: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port, the default port filled in; None if it is no origin."""
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    return parts.scheme, host, port or _DEFAULT_PORTS.get(parts.scheme)
