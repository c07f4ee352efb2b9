"""Through a proxy that the environment names, and what it may answer, over both protocols."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from client.audio import ArraySource
from client.rpc.errors import NoSuchService, ServerUnreachable, SttError
from client.stream import Patience, SttClient, WebSocketSttClient
from tests.integration.client.peers import (
    Authority,
    ConnectProxy,
    greet_like_ssh,
    hang_up,
    listen,
    say_nothing,
    tls_front,
)
from tests.integration.gateway.harness import ScriptedService, run_gateway, run_scripted

# This name does not exist: it can only be reached through the proxy.
HOST = "speech.example"
PROTOCOLS = ["grpc", "websocket"]
PATIENCE = Patience(unreachable_s=0.2)
SILENCE = np.zeros(2400, np.float32)
USER = "an na:p@ss:w%rd"
USER_IN_URL = "an%20na:p%40ss%3Aw%25rd"


@pytest.fixture
async def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, str]]:
    """Where HOST really is, by port: 1 gRPC, 2 the gateway, 443 and 444 the same through TLS."""
    for name in ("http", "https", "all", "grpc", "ws", "wss", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    context = authority.context(HOST)
    async with (
        run_scripted(ScriptedService()) as endpoint,
        run_gateway(endpoint) as gateway,
        tls_front(endpoint.target, context) as grpc_port,
        tls_front(gateway.http, context) as websocket_port,
    ):
        yield {
            f"{HOST}:1": endpoint.target,
            f"{HOST}:2": gateway.http,
            f"{HOST}:443": f"127.0.0.1:{grpc_port}",
            f"{HOST}:444": f"127.0.0.1:{websocket_port}",
        }


def make_client(protocol: str, *, tls: bool = True) -> SttClient | WebSocketSttClient:
    if protocol == "grpc":
        return SttClient(f"https://{HOST}" if tls else f"{HOST}:1", patience=PATIENCE)
    return WebSocketSttClient(f"wss://{HOST}:444" if tls else f"ws://{HOST}:2", patience=PATIENCE)


async def transcribe(client: SttClient | WebSocketSttClient) -> str:
    async with client:
        return (await client.transcribe(ArraySource(SILENCE))).transcript


async def fail(protocol: str) -> SttError:
    with pytest.raises(SttError) as caught:
        await transcribe(make_client(protocol))
    assert "roxy" in str(caught.value)
    assert "p%40ss" not in str(caught.value) and "p@ss" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("variable", "tls"),
    [
        ("https_proxy", True),
        ("HTTPS_PROXY", True),
        ("all_proxy", True),
        ("ALL_PROXY", True),
        ("https_proxy", False),
        ("http_proxy", False),
        ("HTTP_PROXY", False),
        ("ALL_PROXY", False),
    ],
)
@pytest.mark.parametrize("with_scheme", [True, False])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_proxy_of_the_environment_leads_there(
    protocol: str,
    with_scheme: bool,
    variable: str,
    tls: bool,
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ConnectProxy(places) as proxy:
        monkeypatch.setenv(variable, f"http://{proxy.address}" if with_scheme else proxy.address)
        assert await transcribe(make_client(protocol, tls=tls))
    assert set(proxy.asked_for) <= set(places)
    assert proxy.asked_for


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_proxy_hears_its_user_and_password(
    protocol: str, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(places, user=USER) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{USER_IN_URL}@{proxy.address}")
        assert await transcribe(make_client(protocol))


@pytest.mark.parametrize("url", ["http://{}", "http://anna:p%40ss@{}"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_proxy_that_wants_others_says_so(
    protocol: str, url: str, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(places, user=USER) as proxy:
        monkeypatch.setenv("https_proxy", url.format(proxy.address))
        error = await fail(protocol)
    assert type(error) is NoSuchService
    assert "HTTP 407" in str(error) and "https_proxy" in str(error)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("403 Forbidden", NoSuchService),
        ("405 Method Not Allowed", NoSuchService),
        ("502 Bad Gateway", ServerUnreachable),
        ("504 Gateway Timeout", ServerUnreachable),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_proxy_that_refuses(
    protocol: str,
    status: str,
    wanted: type[SttError],
    places: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with ConnectProxy(places, refusal=status) as proxy:
        monkeypatch.setenv("https_proxy", f"http://anna:p%40ss@{proxy.address}")
        error = await fail(protocol)
    assert type(error) is wanted
    assert f"HTTP {status[:3]}" in str(error)
    assert f"http://{proxy.address}" in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_dead_proxy_is_called_one(
    protocol: str, places: dict[str, str], unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://anna:p%40ss@127.0.0.1:{unused_tcp_port}")
    error = await fail(protocol)
    assert type(error) is ServerUnreachable
    assert f"the proxy http://127.0.0.1:{unused_tcp_port} (named by https_proxy)" in str(error)


@pytest.mark.parametrize("handler", [say_nothing, hang_up, greet_like_ssh])
async def test_what_is_no_proxy_is_said(
    handler: object, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over both protocols at once: silence takes as long as our patience."""
    async with listen(handler) as port:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")
        await asyncio.gather(*(fail(protocol) for protocol in PROTOCOLS))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_certificate_is_judged_behind_the_proxy_too(
    protocol: str, places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path / "other").file))
    async with ConnectProxy(places) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        with pytest.raises(NoSuchService, match=f"certificate of the server at {HOST}"):
            await transcribe(make_client(protocol))


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_exception_goes_past_the_proxy(
    protocol: str, name: str, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(places) as proxy:
        monkeypatch.setenv("https_proxy", f"http://{proxy.address}")
        monkeypatch.setenv(name, HOST)
        with pytest.raises(ServerUnreachable, match="There is no host"):
            await transcribe(make_client(protocol))
    assert proxy.asked_for == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_this_machine_is_reached_without_it(
    protocol: str, places: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectProxy(places) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "ws_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        client = (
            SttClient(places[f"{HOST}:1"])
            if protocol == "grpc"
            else WebSocketSttClient(f"ws://{places[f'{HOST}:2']}")
        )
        assert await transcribe(client)
    assert proxy.asked_for == []


async def test_a_proxy_that_is_reached_by_tls(
    places: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WebSocket can; gRPC cannot, and says so where the client is made."""
    (tmp_path / "proxy").mkdir()
    monkeypatch.setenv(
        "SSL_CERT_FILE", str(bundle(tmp_path, authority := Authority(tmp_path / "proxy")))
    )
    async with ConnectProxy(places, context=authority.context()) as proxy:
        monkeypatch.setenv("https_proxy", f"https://localhost:{proxy.port}")
        assert await transcribe(make_client("websocket"))
        with pytest.raises(ValueError, match="gRPC goes through HTTP proxies only"):
            make_client("grpc")


def bundle(folder: Path, other: Authority) -> Path:
    """Both authorities in one file."""
    path = folder / "bundle.pem"
    path.write_bytes((folder / "authority.pem").read_bytes() + other.file.read_bytes())
    return path


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks5", "socks5h"])
def test_a_socks_proxy_is_answered_by_what_helps(
    protocol: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(ImportError):
        import python_socks  # noqa: F401  # pyright: ignore

        if protocol == "websocket":
            pytest.skip("python-socks is installed")
    monkeypatch.setenv("all_proxy", f"{scheme}://anna:geheim@127.0.0.1:1080")
    with pytest.raises(ValueError, match="HTTP prox") as caught:
        make_client(protocol)
    assert "geheim" not in str(caught.value)
    assert "all_proxy" in str(caught.value)
