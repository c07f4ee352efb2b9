"""The gateway's class under Modal's own ASGI wrapper, in front of the real server."""

import asyncio
import contextlib
import importlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from modal._partial_function import _find_callables_for_obj, _PartialFunctionFlags
from modal._runtime import execution_context
from modal._runtime.asgi import asgi_app_wrapper
from modal._utils.async_utils import synchronizer

from tests.integration.server.calls import become_free, count_free_slots
from tests.support import Recording, Service

TIMEOUT_S = 30
FRAME_BYTES = 1920 * 4
SCOPE = {
    "type": "websocket",
    "path": "/v1/stream",
    "raw_path": b"/v1/stream",
    "query_string": b"events=final",
    "headers": [(b"host", b"acme--app.modal.run")],
    "client": ("127.0.0.1", 1234),
    "scheme": "wss",
    "subprotocols": [],
    "http_version": "1.1",
    "asgi": {"version": "3.0"},
}


class Socket:
    """The client's side of one WebSocket, as Modal hands it to a container."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.get_data_in = SimpleNamespace(aio=self._read)

    async def _read(self, _call_id: str, _token: str) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self.messages.get()

    def send(self, kind: str, **fields: Any) -> None:
        self.messages.put_nowait({"type": kind, **fields})


def make_app(monkeypatch: pytest.MonkeyPatch, pool_url: str) -> Any:
    """What the class serves once it knows where the pool is."""
    monkeypatch.setenv("MODAL_KEY", "wk-test")
    monkeypatch.setenv("MODAL_SECRET", "ws-test")
    modal_app = importlib.import_module("stt_service.modal_app")
    gateway_class: Any = synchronizer._translate_in(modal_app.Gateway)
    gateway = gateway_class._get_user_cls()()
    gateway.pool_url = pool_url
    return _find_callables_for_obj(gateway, _PartialFunctionFlags.interface_flags())["serve"]()


@contextlib.asynccontextmanager
async def run_wrapped(app: Any, socket: Socket) -> AsyncIterator[Any]:
    """Modal's wrapper of an ASGI application, its lifespan included."""
    wrapped, lifespan = asgi_app_wrapper(app, socket)
    background = asyncio.create_task(lifespan.background_task())
    await lifespan.lifespan_startup()
    reset = execution_context._set_current_context_ids(["in-1"], ["fc-1"], ["token"])
    try:
        yield wrapped
    finally:
        reset()
        await lifespan.lifespan_shutdown()
        await background


async def test_the_documented_client_through_the_wrapper(
    grpc_service: Service,
    recordings: tuple[Recording, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    socket = Socket()
    app = make_app(monkeypatch, f"http://{grpc_service.grpc}")
    socket.send("websocket.connect")
    socket.send("websocket.receive", bytes=recordings[0].pcm_f32le(), text=None)
    socket.send("websocket.receive", text='{"type":"end"}', bytes=None)

    async with asyncio.timeout(TIMEOUT_S), run_wrapped(app, socket) as wrapped:
        sent = [message async for message in wrapped(dict(SCOPE))]

    assert sent[0]["type"] == "websocket.accept"
    assert sent[-1]["type"] == "websocket.close"
    assert sent[-1]["code"] == 1000
    messages = [json.loads(m["text"]) for m in sent if m["type"] == "websocket.send"]
    assert messages[-1]["type"] == "final"
    tokens = "".join(m["text"] for m in messages if m["type"] == "token")
    assert tokens.strip() == messages[-1]["transcript"].strip() == recordings[0].text


async def test_a_client_that_vanishes_frees_its_slot(
    grpc_service: Service,
    recordings: tuple[Recording, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Modal's message for it lacks the close code that ASGI asks for."""
    socket = Socket()
    app = make_app(monkeypatch, f"http://{grpc_service.grpc}")
    socket.send("websocket.connect")
    socket.send("websocket.receive", bytes=recordings[0].pcm_f32le()[:FRAME_BYTES], text=None)

    async with (
        asyncio.timeout(TIMEOUT_S),
        grpc.aio.insecure_channel(grpc_service.grpc) as channel,
        run_wrapped(app, socket) as wrapped,
    ):
        async for message in wrapped({**SCOPE, "query_string": b"events=ready"}):
            if "ready" in message.get("text", ""):
                assert await count_free_slots(channel) == 7
                socket.send("websocket.disconnect")
        await become_free(channel, 8)
