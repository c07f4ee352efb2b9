"""Something else answers at an address: one true sentence, in seconds, over both protocols."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from client.audio import ArraySource
from client.rpc.endpoint import Tls
from client.rpc.errors import (
    NoSuchService,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    Unauthenticated,
    UntrustedServer,
)
from client.stream import Credentials, Endpoint, Patience, SttClient, WebSocketSttClient
from tests.integration.client.peers import (
    Authority,
    greet_like_ssh,
    hang_up,
    http_server,
    listen,
    refuse_http2,
    say_nothing,
    tls_front,
)
from tests.integration.gateway.harness import ScriptedService, run_gateway, run_scripted

SCHEMES = {"grpc": "http", "websocket": "ws"}
PATIENCE = Patience(unreachable_s=0.2)
SILENCE = np.zeros(2400, np.float32)


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """A company's authority that this machine's SSL_CERT_FILE names."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


@contextlib.asynccontextmanager
async def both() -> AsyncIterator[dict[str, str]]:
    """A service and its gateway: HOST:PORT by protocol."""
    async with run_scripted(ScriptedService()) as endpoint, run_gateway(endpoint) as gateway:
        yield {"grpc": endpoint.target, "websocket": gateway.http}


def make_client(
    protocol: str, place: str, *, tls: bool = False, credentials: Credentials | None = None
) -> SttClient | WebSocketSttClient:
    address = f"{SCHEMES[protocol]}{'s' if tls else ''}://{place}"
    if protocol == "grpc":
        return SttClient(address, credentials, patience=PATIENCE)
    return WebSocketSttClient(address, credentials, patience=PATIENCE)


async def fail(client: SttClient | WebSocketSttClient) -> SttError:
    """What a stream ends with; it is not a cold start, so the client does not wait two minutes."""
    began = time.monotonic()
    async with client:
        with pytest.raises(SttError) as caught:
            await client.transcribe(ArraySource(SILENCE))
    assert time.monotonic() - began < 40
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("protocol", SCHEMES)
async def test_the_other_protocols_port(protocol: str) -> None:
    other = {"grpc": "websocket", "websocket": "grpc"}[protocol]
    option = {"grpc": "--url", "websocket": "--grpc"}[protocol]
    async with both() as places:
        error = await fail(make_client(protocol, places[other]))
    assert type(error) is NoSuchService
    assert f"the address is {SCHEMES[other]}://{places[other]} ({option})" in str(error)


@pytest.mark.parametrize("protocol", SCHEMES)
async def test_tls_where_there_is_none(protocol: str, authority: Authority) -> None:
    async with both() as places:
        error = await fail(make_client(protocol, places[protocol], tls=True))
    assert type(error) is NoSuchService
    assert f"does not speak TLS. Write {SCHEMES[protocol]}://{places[protocol]}." in str(error)


@pytest.mark.parametrize("protocol", SCHEMES)
async def test_no_tls_where_it_is_wanted(protocol: str, authority: Authority) -> None:
    async with both() as places, tls_front(places[protocol], authority.context()) as port:
        error = await fail(make_client(protocol, f"localhost:{port}"))
    assert type(error) is NoSuchService
    assert f"wants TLS. Write {SCHEMES[protocol]}s://localhost:{port}." in str(error)


@pytest.mark.parametrize("protocol", SCHEMES)
async def test_the_other_protocols_port_through_tls(protocol: str, authority: Authority) -> None:
    other = {"grpc": "websocket", "websocket": "grpc"}[protocol]
    async with both() as places, tls_front(places[other], authority.context()) as port:
        error = await fail(make_client(protocol, f"localhost:{port}", tls=True))
    assert type(error) is NoSuchService
    assert f"the address is {SCHEMES[other]}s://localhost:{port}" in str(error)


async def test_a_tls_server_that_refuses_http2(authority: Authority) -> None:
    async with listen(refuse_http2) as port:
        error = await fail(make_client("grpc", f"localhost:{port}", tls=True))
    assert type(error) is NoSuchService
    assert f"the address is wss://localhost:{port} (--url)" in str(error)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        ("expired", "certificate has expired. It must be renewed"),
        ("other name", "Use the host name that the certificate is for"),
        ("unknown authority", "name the authority's PEM file in SSL_CERT_FILE"),
    ],
)
@pytest.mark.parametrize("protocol", SCHEMES)
async def test_a_certificate_that_proves_nothing(
    protocol: str, certificate: str, words: str, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    context = {
        "expired": authority.context(is_expired=True),
        "other name": authority.context("speech.example"),
        "unknown authority": Authority(tmp_path / "other").context(),
    }[certificate]
    async with both() as places, tls_front(places[protocol], context) as port:
        error = await fail(make_client(protocol, f"localhost:{port}", tls=True))
    assert type(error) is UntrustedServer
    assert words in str(error)
    assert f"localhost:{port}" in str(error)


async def test_a_server_that_wants_a_client_certificate(tmp_path: Path) -> None:
    """With none, with an unknown one, and with the right one, by the server's own gRPC core."""
    ca, stranger = trustme.CA(), trustme.CA()
    server_leaf = ca.issue_cert("localhost")
    credentials = grpc.ssl_server_credentials(
        [(server_leaf.private_key_pem.bytes(), server_leaf.cert_chain_pems[0].bytes())],
        ca.cert_pem.bytes(),
        require_client_auth=True,
    )
    server = grpc.aio.server()
    port = server.add_secure_port("localhost:0", credentials)
    await server.start()
    try:
        for issuer in (None, stranger, ca):
            leaf = issuer.issue_cert("client") if issuer else None
            tls = Tls(
                ca.cert_pem.bytes(),
                leaf.private_key_pem.bytes() if leaf else None,
                leaf.cert_chain_pems[0].bytes() if leaf else None,
            )
            error = await fail(SttClient(Endpoint("localhost", port, tls), patience=PATIENCE))
            # The accepted one finds a server without our service.
            assert isinstance(error, NoSuchService) == (issuer is ca)
            assert ("may want a client certificate" in str(error)) == (issuer is not ca)
    finally:
        await server.stop(None)


@pytest.mark.parametrize("protocol", SCHEMES)
async def test_a_host_that_does_not_exist(protocol: str) -> None:
    error = await fail(make_client(protocol, "no-such-host.invalid:1"))
    assert type(error) is ServerUnreachable
    assert "There is no host 'no-such-host.invalid'" in str(error)


@pytest.mark.parametrize("protocol", SCHEMES)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
async def test_a_port_where_nobody_listens(protocol: str, host: str, unused_tcp_port: int) -> None:
    error = await fail(make_client(protocol, f"{host}:{unused_tcp_port}"))
    assert type(error) is ServerUnreachable
    assert str(error).startswith(f"Nothing answers at {host}:{unused_tcp_port}: ")
    assert "Errno" not in str(error)


STRANGERS = {
    "closing": (hang_up, ServerUnreachable, "closes every connection without a word"),
    "another protocol": (greet_like_ssh, NoSuchService, "does not speak"),
}


@pytest.mark.parametrize("stranger", STRANGERS)
@pytest.mark.parametrize("protocol", SCHEMES)
async def test_a_server_of_another_kind(protocol: str, stranger: str) -> None:
    handler, wanted, words = STRANGERS[stranger]
    async with listen(handler) as port:
        error = await fail(make_client(protocol, f"127.0.0.1:{port}"))
    assert type(error) is wanted
    assert words in str(error)


async def test_a_silent_server(authority: Authority) -> None:
    """All four at once: each waits as long as a slow answer may take."""
    ways = [(protocol, tls) for protocol in SCHEMES for tls in (False, True)]
    async with listen(say_nothing) as port:
        place = f"127.0.0.1:{port}"
        errors = await asyncio.gather(*(fail(make_client(p, place, tls=tls)) for p, tls in ways))
    for error, (_, tls) in zip(errors, ways, strict=True):
        assert type(error) is ServerUnreachable
        silence = "takes connections but is silent"
        assert ("does not answer the TLS handshake" if tls else silence) in str(error)


STATUSES = ["200 OK", "301 Moved", "307 Elsewhere", "400 Bad", "403 No", "404 None", "426 Up"]


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("protocol", SCHEMES)
async def test_some_other_web_server(protocol: str, tls: bool, authority: Authority) -> None:
    await asyncio.gather(*(ask_web_server(protocol, tls, s, authority) for s in STATUSES))


async def ask_web_server(protocol: str, tls: bool, status: str, authority: Authority) -> None:
    headers = ["Location: https://elsewhere.example/"] if status.startswith("3") else []
    context = authority.context() if tls else None
    async with listen(http_server(status, *headers), context) as port:
        error = await fail(make_client(protocol, f"127.0.0.1:{port}", tls=tls))
    assert type(error) is NoSuchService
    if protocol == "websocket":
        assert f"HTTP {status[:3]}" in str(error)
        assert ("https://elsewhere.example/" in str(error)) == bool(headers)
    else:
        assert "speaks HTTP/1.1, not gRPC" in str(error)


async def test_a_page_that_is_longer_than_any_refusal() -> None:
    async with listen(http_server("200 OK", body="x" * 3_000_000)) as port:
        error = await fail(make_client("websocket", f"127.0.0.1:{port}"))
    assert type(error) is NoSuchService


async def test_a_redirection_is_not_followed_with_the_token() -> None:
    """The token would go to any host that the answer names."""
    heads: list[bytes] = []

    async def record(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heads.append(await reader.read(1024))

    token = Credentials("wk-1", "ws-2")
    async with listen(record) as thief:
        location = f"Location: ws://127.0.0.1:{thief}/v1/stream"
        async with listen(http_server("302 Found", location)) as port:
            await fail(make_client("websocket", f"127.0.0.1:{port}", credentials=token))
    assert heads == []


@pytest.mark.parametrize(
    ("status", "wanted"), [("401 No", Unauthenticated), ("503 Cold", ServerUnavailable)]
)
async def test_what_the_edge_says_of_credentials_and_cold_starts(
    status: str, wanted: type[SttError]
) -> None:
    impatient = Patience(starting_s=0.0)
    async with listen(http_server(status)) as port:
        client = WebSocketSttClient(f"ws://127.0.0.1:{port}", patience=impatient)
        assert type(await fail(client)) is wanted


async def test_a_wrong_path_of_the_gateway_is_no_matter_of_credentials() -> None:
    async with both() as places:
        error = await fail(make_client("websocket", f"{places['websocket']}/v1/streem"))
    assert type(error) is NoSuchService


async def test_a_page_of_another_origin_is_told_in_the_gateways_words() -> None:
    async with listen(
        http_server("403 Forbidden", "Content-Type: text/plain", body="Pages may not connect.\n")
    ) as port:
        error = await fail(make_client("websocket", f"127.0.0.1:{port}"))
    assert type(error) is NoSuchService
    assert "HTTP 403: Pages may not connect)" in str(error)
