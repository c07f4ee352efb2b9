"""The gateway as an ASGI application: WebSockets of all protocols, health, metrics, the page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
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
from gateway.authorization import CHALLENGE, CallerCheck
from gateway.client_socket import refuse
from gateway.config import GatewayConfig
from gateway.metrics import GatewayMetrics
from gateway.protocols import DOORS, find_door, moshi_http, name_paths
from gateway.protocols.documented import encode_server_info
from gateway.protocols.messages import Json
from gateway.recordings import Recordings
from gateway.security import SecurityHeaders
from gateway.sessions import Sessions
from gateway.tls import Reloaded
from gateway.upstream import Upstream
from stt.v1 import stt_pb2
from stt_service.process.logs import get_logger

WEB_FOLDER = Path(__file__).parent / "web"
ASK_UPSTREAM_S = 3.0
NOT_FOUND = 404
NOT_ALLOWED = 405
UNSUPPORTED_MEDIA_TYPE = 415
UPGRADE_REQUIRED = 426
UNAVAILABLE = 503
READING = ("GET", "HEAD")
METHODS = (*READING, "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_log = get_logger(__name__)


class Gateway:
    """State that the routes of one application share; opened and closed with the application."""

    def __init__(self, config: GatewayConfig) -> None:
        self.config = config
        self.metrics = GatewayMetrics()
        self.readable_paths: frozenset[str] = frozenset()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        """Keep the connections to the service open while the application runs."""
        endpoint, files = self.config.upstream, self.config.upstream_files
        renewed = Reloaded(files.paths, lambda: files.load(endpoint)) if files.paths else None
        self.upstream = Upstream(endpoint, renewed.get if renewed is not None else None)
        self.sessions = Sessions(self.config, self.upstream, self.metrics)
        self.recordings = Recordings(self.config, self.upstream)
        _log.info("gateway started", upstream=str(self.config.upstream))
        try:
            yield
        finally:
            await self.upstream.close()
            _log.info("gateway stopped")

    async def stream(self, websocket: WebSocket) -> None:
        """A WebSocket of the protocol that is spoken at its path."""
        door = find_door(websocket.scope["path"])
        if door is None:
            self.metrics.refused.labels("path").inc()
            text = f"There is no WebSocket at this path; they are at {name_paths()}."
            await refuse(websocket, PlainTextResponse(f"{text}\n", NOT_FOUND))
        else:
            await self.sessions.serve(websocket, door)

    async def say_not_found(self, _request: Request, _error: Exception) -> Response:
        """Answer a request for an unknown path."""
        text = f"There is nothing at this path; the page is at /, WebSockets at {name_paths()}.\n"
        return PlainTextResponse(text, NOT_FOUND)

    async def say_not_allowed(self, request: Request, error: Exception) -> Response:
        """Answer a method that a path does not have; an unknown path has none."""
        if request.url.path not in self.readable_paths:
            return await self.say_not_found(request, error)
        allowed = " and ".join(READING)
        text = f"{request.method} means nothing here; this path answers {allowed}.\n"
        return PlainTextResponse(text, NOT_ALLOWED, headers={"Allow": ", ".join(READING)})

    async def ask_for_upgrade(self, _request: Request) -> Response:
        """Answer a request for a WebSocket's path without its handshake."""
        text = "This is a WebSocket. Connect with ws:// or wss:// and send audio.\n"
        return PlainTextResponse(text, UPGRADE_REQUIRED, headers={"Upgrade": "websocket"})

    async def refuse_rpc(self, request: Request) -> Response:
        """Answer a call of gRPC-Web or Connect, which are POSTs to /SERVICE/METHOD."""
        if "." not in request.path_params["service"]:
            return await self.say_not_allowed(request, LookupError())
        text = (
            "gRPC-Web and Connect are not served here. Use gRPC over HTTP/2 at the service's own "
            f"port, or a WebSocket at {name_paths()}.\n"
        )
        return PlainTextResponse(text, UNSUPPORTED_MEDIA_TYPE)

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

    async def info(self, _request: Request) -> Response:
        """`/v1/info`: the model that is served, and its slots."""
        try:
            info = await self.upstream.get_server_info(ASK_UPSTREAM_S)
        except SttError as error:
            if isinstance(error, Unauthenticated) and self.upstream.passes_keys_on:
                return JSONResponse({"error": str(error)}, HTTPStatus.UNAUTHORIZED, CHALLENGE)
            return JSONResponse({"error": str(error)}, UNAVAILABLE)
        return JSONResponse(encode_server_info(info))

    async def build_info(self, _request: Request) -> Response:
        """`/api/build_info`, for clients of moshi-server."""
        return await self._describe(moshi_http.encode_build_info)

    async def modules_info(self, _request: Request) -> Response:
        """`/api/modules_info`, for clients of moshi-server."""
        return await self._describe(moshi_http.encode_modules_info)

    async def _describe(
        self, encode: Callable[[stt_pb2.GetServerInfoResponse], Json | list[Json]]
    ) -> Response:
        try:
            info = await self.upstream.get_server_info(ASK_UPSTREAM_S)
        except SttError as error:
            return JSONResponse(moshi_http.encode_failure(str(error)), UNAVAILABLE)
        return JSONResponse(encode(info))

    async def transcribe(self, request: Request) -> Response:
        """A whole recording that was POSTed, for clients of moshi-server."""
        if self.sessions.draining:
            return JSONResponse(
                moshi_http.encode_failure("The gateway is restarting."), UNAVAILABLE
            )
        return await self.recordings.transcribe(request)

    async def metrics_text(self, _request: Request) -> Response:
        """`/metrics` in Prometheus' text format."""
        text = generate_latest(self.metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def create_app(config: GatewayConfig) -> Starlette:
    """The gateway as an ASGI application. `app.state.gateway` is its `Gateway`."""
    gateway = Gateway(config)
    readable = [
        Route(moshi_http.BUILD_INFO_PATH, gateway.build_info),
        Route(moshi_http.MODULES_INFO_PATH, gateway.modules_info),
        Route("/v1/info", gateway.info),
        Route("/healthz", gateway.healthz),
        Route("/readyz", gateway.readyz),
        Route("/metrics", gateway.metrics_text),
    ]
    gateway.readable_paths = frozenset((*(route.path for route in readable), *_page_paths()))
    routes: list[BaseRoute] = [
        # Any path, since a WebSocket must not reach StaticFiles.
        WebSocketRoute("/{path:path}", gateway.stream),
        *_route_recordings(gateway),
        *(Route(path, gateway.ask_for_upgrade, methods=METHODS) for path in _stream_paths()),
        *readable,
        Route("/{service}/{method}", gateway.refuse_rpc, methods=["POST"]),
    ]
    if (WEB_FOLDER / "index.html").is_file():
        routes.append(Route("/{path:path}", StaticFiles(directory=WEB_FOLDER, html=True)))
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(CallerCheck, config=config, metrics=gateway.metrics),
        ],
        exception_handlers={
            NOT_FOUND: gateway.say_not_found,
            NOT_ALLOWED: gateway.say_not_allowed,
        },
        lifespan=gateway.lifespan,
    )
    app.state.gateway = gateway
    return app


def _page_paths() -> Iterator[str]:
    yield "/"
    yield from (f"/{file.name}" for file in WEB_FOLDER.glob("*") if file.is_file())


def _stream_paths() -> Iterator[str]:
    for door in DOORS:
        for path in door.paths:
            yield from (path, f"{path}/")


def _route_recordings(gateway: Gateway) -> Iterator[BaseRoute]:
    for path in (moshi_http.RECORDINGS_PATH, f"{moshi_http.RECORDINGS_PATH}/"):
        yield Route(path, gateway.transcribe, methods=["POST"])
