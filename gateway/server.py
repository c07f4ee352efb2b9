"""The gateway as an ASGI application: WebSocket, health, metrics and the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from client.rpc.errors import SttError, Unauthenticated
from gateway.authorization import CHALLENGE, CallerCheck, make_caller_metadata
from gateway.config import GatewayConfig
from gateway.metrics import GatewayMetrics
from gateway.protocol import encode_server_info
from gateway.security import SecurityHeaders
from gateway.sessions import Sessions
from gateway.tls import Reloaded
from gateway.upstream import Upstream
from stt_service.process.logs import get_logger

STREAM_PATH = "/v1/stream"
WEB_FOLDER = Path(__file__).parent / "web"
ASK_UPSTREAM_S = 3.0
NOT_FOUND = 404
UPGRADE_REQUIRED = 426
UNAVAILABLE = 503

_log = get_logger(__name__)


class Gateway:
    """State that the routes of one application share; opened and closed with the application."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.metrics = GatewayMetrics()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """Keep the connections to the service open while the application runs."""
        endpoint, files = self.config.upstream, self.config.upstream_files
        renewed = Reloaded(files.paths, lambda: files.load(endpoint)) if files.paths else None
        self.upstream = Upstream(endpoint, renewed.get if renewed is not None else None)
        self.sessions = Sessions(self.config, self.upstream, self.metrics)
        _log.info("gateway started", upstream=str(self.config.upstream))
        try:
            yield
        finally:
            await self.upstream.close()
            _log.info("gateway stopped")

    async def stream(self, websocket: WebSocket) -> None:
        """`/v1/stream`: audio in, messages out."""
        await self.sessions.serve(websocket)

    async def refuse_other_path(self, websocket: WebSocket) -> None:
        """Answer a WebSocket handshake at any other path."""
        self.metrics.refused.labels("path").inc()
        text = f"There is no WebSocket at this path; it is at {STREAM_PATH}.\n"
        if "websocket.http.response" in websocket.scope.get("extensions", {}):
            await websocket.send_denial_response(PlainTextResponse(text, NOT_FOUND))
        else:
            # Without that extension, an ASGI server answers a close before the accept with 403.
            await websocket.close()

    async def say_not_found(self, _request: Request, _error: Exception) -> Response:
        """Answer a request for an unknown path."""
        text = f"There is nothing at this path; the page is at /, the WebSocket at {STREAM_PATH}.\n"
        return PlainTextResponse(text, NOT_FOUND)

    async def ask_for_upgrade(self, _request: Request) -> Response:
        """Answer a request for `/v1/stream` without a WebSocket handshake."""
        text = "This is a WebSocket. Connect with ws:// or wss:// and send audio.\n"
        return PlainTextResponse(text, UPGRADE_REQUIRED, headers={"Upgrade": "websocket"})

    async def healthz(self, _request: Request) -> Response:
        """Whether the gateway itself is alive."""
        return JSONResponse({"status": "ok"})

    async def readyz(self, _request: Request) -> Response:
        """Whether a session opened now would be served at once."""
        if self.sessions.draining:
            return JSONResponse({"status": "draining"}, UNAVAILABLE)
        try:
            await self.upstream.check(ASK_UPSTREAM_S)
        except SttError as error:
            return JSONResponse({"status": "waiting", "reason": str(error)}, UNAVAILABLE)
        return JSONResponse({"status": "ready"})

    async def info(self, request: Request) -> Response:
        """`/v1/info`: the model that is served, and its slots."""
        try:
            info = await self.upstream.get_server_info(
                ASK_UPSTREAM_S, make_caller_metadata(request.scope)
            )
        except Unauthenticated as error:
            if self.upstream.passes_keys_on:
                return JSONResponse({"error": str(error)}, HTTPStatus.UNAUTHORIZED, CHALLENGE)
            return JSONResponse({"error": str(error)}, UNAVAILABLE)
        except SttError as error:
            return JSONResponse({"error": str(error)}, UNAVAILABLE)
        return JSONResponse(encode_server_info(info))

    async def metrics_text(self, _request: Request) -> Response:
        """`/metrics` in Prometheus' text format."""
        text = generate_latest(self.metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def create_app(config: GatewayConfig) -> Starlette:
    """The gateway as an ASGI application. `app.state.gateway` is its `Gateway`."""
    gateway = Gateway(config)
    routes: list[BaseRoute] = [
        WebSocketRoute(STREAM_PATH, gateway.stream),
        WebSocketRoute(f"{STREAM_PATH}/", gateway.stream),
        WebSocketRoute("/{path:path}", gateway.refuse_other_path),
        Route(STREAM_PATH, gateway.ask_for_upgrade),
        Route(f"{STREAM_PATH}/", gateway.ask_for_upgrade),
        Route("/v1/info", gateway.info),
        Route("/healthz", gateway.healthz),
        Route("/readyz", gateway.readyz),
        Route("/metrics", gateway.metrics_text),
    ]
    if (WEB_FOLDER / "index.html").is_file():
        # A Route, not a Mount: a WebSocket to another path must not reach StaticFiles.
        routes.append(Route("/{path:path}", StaticFiles(directory=WEB_FOLDER, html=True)))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(CallerCheck, config=config, metrics=gateway.metrics),
        ],
        exception_handlers={NOT_FOUND: gateway.say_not_found},
        lifespan=gateway.lifespan,
    )
    app.state.gateway = gateway
    return app
