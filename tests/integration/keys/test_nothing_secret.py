"""Nothing secret is in logs, errors, `ps`, metrics or the page, whatever callers do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import grpc
import httpx
import pytest
import websockets

from gateway.protocols import DOORS
from gateway.server import WEB_FOLDER
from stt_service.process.keys import KEY_VARIABLE, SECRET_VARIABLE
from tests.integration.keys.keyed import (
    ALICE,
    CAROL,
    FILE,
    MARK,
    WAYS,
    WRONG,
    Headers,
    basic,
    bearer,
    modal,
    secret_alone,
)
from tests.integration.server.raw_http2 import GET_INFO, REFLECTION, STREAMING, connect, frame
from tests.support import Service, run_service

HIDDEN = (MARK.encode(), basic(ALICE)[0][1].split()[1].encode())
"""What no output may hold: a part of every secret, and one in base64."""
METRICS = ("--metrics", "127.0.0.1:0")


class Output:
    """All that came out of the servers."""

    def __init__(self, service: Service, log: Path) -> None:
        self.service = service
        self.parts: dict[str, bytes] = {}
        self._log = log

    def add(self, what: str, said: object) -> None:
        self.parts[what] = said if isinstance(said, bytes) else str(said).encode()

    def find_secrets(self) -> list[str]:
        """The parts that hold something secret."""
        self.add("the log", self._log.read_bytes())
        return [name for name, said in self.parts.items() if any(h in said for h in HIDDEN)]


@pytest.fixture(scope="module", params=["file", "environment"])
def output(request, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Output]:
    folder = tmp_path_factory.mktemp("secret")
    (folder / "keys").write_text(FILE)
    if request.param == "file":
        arguments, env = ("--keys", str(folder / "keys")), {}
    else:
        arguments, env = (
            ("--log-format", "json"),
            dict(zip((KEY_VARIABLE, SECRET_VARIABLE), ALICE, strict=True)),
        )
    with (
        (folder / "log").open("w") as log,
        run_service(*METRICS, *arguments, log=log, env=env) as service,
    ):
        yield Output(service, folder / "log")


ALL_HEADERS: tuple[Headers, ...] = (*(way(ALICE) for way in WAYS), *WRONG)


async def call_grpc(output: Output) -> None:
    async with connect(output.service.grpc) as caller:
        for headers in ALL_HEADERS:
            for method in (STREAMING, GET_INFO, REFLECTION, f"/nobody/{CAROL[1]}"):
                # An empty config is refused, or a right key's first message is.
                call = caller.call(method, dict(headers))
                with contextlib.suppress(Exception):
                    caller.send(call, frame(b"\xff" + CAROL[1].encode()), end=True)
                answer = await asyncio.wait_for(caller.answer(call), 20)
                output.add(f"{method} {headers}", (answer, bytes(caller.received[call])))
    async with grpc.aio.insecure_channel(output.service.grpc) as channel:
        for name in ("authorization-bin", "modal-secret-bin"):
            call = channel.unary_unary(GET_INFO)(b"", metadata=((name, CAROL[1].encode()),))
            output.add(name, (await call.code(), await call.details()))


async def call_http(output: Output) -> None:
    places = (output.service.http, output.service.fields["metrics"])
    for place in places:
        async with httpx.AsyncClient(base_url=f"http://{place}", trust_env=False) as client:
            for headers in ALL_HEADERS:
                for path in ("/", "/metrics", "/v1/info", "/v1/stream", "/healthz", "/nothing"):
                    answer = await client.get(path, headers=dict(headers))
                    said = (answer.headers, answer.content)
                    output.add(f"{place}{path} {headers}", said)
            for path in sorted(WEB_FOLDER.rglob("*.*")):
                page = await client.get(
                    f"/{path.relative_to(WEB_FOLDER)}", headers=dict(bearer(ALICE))
                )
                output.add(f"{place} {path.name}", page.content)


async def call_websocket(output: Output) -> None:
    token = quote(":".join(ALICE))
    subprotocol = [f"openai-insecure-api-key.{ALICE[1]}", "realtime"]
    queries = ("", f"?api_key={token}", f"?auth_id={token}", f"?events={token}", f"?{token}=1")
    for path in ("/nothing", *(path for door in DOORS for path in door.paths)):
        for query in queries:
            for headers in (*(way(ALICE) for way in (modal, secret_alone)), bearer(CAROL), ()):
                name = f"ws {path}{query} {headers}"
                try:
                    async with websockets.connect(
                        f"ws://{output.service.http}{path}{query}",
                        additional_headers=headers,
                        subprotocols=[websockets.Subprotocol(each) for each in subprotocol],
                        proxy=None,
                    ) as websocket:
                        await websocket.send(f'{{"type": "{CAROL[1]}"}}')
                        # The close is answered after what was sent before it.
                        await websocket.close()
                        output.add(name, [message async for message in websocket])
                except websockets.InvalidStatus as refused:
                    answer = refused.response
                    output.add(name, (answer.headers, answer.body))
                except websockets.ConnectionClosed as closed:
                    output.add(name, closed)
                except websockets.NegotiationError as error:
                    output.add(name, error)


def send_malformed(output: Output) -> None:
    """Requests that are no HTTP, with a secret in each."""
    lines = (
        f"GET / HTTP/1.1\r\nAuthorization : Bearer {ALICE[1]}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{ALICE[1]}\r\n\r\n",
        f"{ALICE[1]}\r\n\r\n",
        f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {ALICE[1]}\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {ALICE[1]}\r\n\r\n",
    )
    for service in ("http", "metrics", "grpc"):
        host, _, port = output.service.fields[service].rpartition(":")
        for line in lines:
            with socket.create_connection((host, int(port)), timeout=10) as connection:
                connection.sendall(line.encode())
                connection.shutdown(socket.SHUT_WR)
                said = b""
                with contextlib.suppress(OSError):
                    while data := connection.recv(65_536):
                        said += data
                output.add(f"{service} {line}", said)


def read_command_lines(process: int) -> Iterator[tuple[int, bytes]]:
    """What `ps` shows of a process and of all below it."""
    yield process, Path(f"/proc/{process}/cmdline").read_bytes()
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from read_command_lines(int(child))


async def test_nothing_secret_comes_out(output: Output) -> None:
    await call_grpc(output)
    await call_http(output)
    await call_websocket(output)
    await asyncio.to_thread(send_malformed, output)
    lines = dict(read_command_lines(output.service.process.pid))
    assert any(b"gateway" in line for line in lines.values())
    for process, line in lines.items():
        output.add(f"ps {process}", line)
    assert len(output.parts) > 200
    assert output.find_secrets() == []


def test_the_search_finds_what_it_looks_for(output: Output) -> None:
    for secret in (ALICE[1], basic(ALICE)[0][1]):
        output.add("a leak", f"session opened key={secret}")
        assert "a leak" in output.find_secrets()
    del output.parts["a leak"]
