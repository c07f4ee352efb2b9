"""The commands as README prints them, over real TLS, with a fresh home and one variable."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.blocking import BlockingSttClient
from client.stream import Credentials, SttClient, WebSocketSttClient
from tests.integration.client.peers import Authority, ConnectProxy, tls_front
from tests.support import Recording, Service

BIN = Path(sys.executable).parent
MODAL_HOST = "acme--kyutai-stt-rust-kyutaisttrustservice-serve.modal.run"


@dataclass(frozen=True)
class TlsService:
    """The real service behind TLS, and where its authority's certificate is."""

    grpc: str
    websocket: str
    authority: Path
    places: dict[str, str]
    """For a proxy: where the hosts really are."""

    def address(self, protocol: str) -> list[str]:
        """The option that names it."""
        return ["--grpc", self.grpc] if protocol == "grpc" else ["--url", self.websocket]


@pytest.fixture
async def tls_service(service: Service, tmp_path: Path) -> AsyncIterator[TlsService]:
    authority = Authority(tmp_path)
    context = authority.context("localhost", MODAL_HOST)
    async with (
        tls_front(service.grpc, context) as grpc_port,
        tls_front(service.http, context) as websocket_port,
    ):
        yield TlsService(
            f"https://localhost:{grpc_port}",
            f"wss://localhost:{websocket_port}",
            authority.file,
            {f"{MODAL_HOST}:443": f"127.0.0.1:{websocket_port}"},
        )


async def run(
    home: Path, command: str, *arguments: object, **variables: object
) -> tuple[int, str, str]:
    """Run a console script as from a fresh account."""
    process = await asyncio.create_subprocess_exec(
        str(BIN / command),
        *map(str, arguments),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            **{k: str(v) for k, v in variables.items()},
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(100):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"])
@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_a_companys_authority_is_believed_over_both_protocols(
    tls_service: TlsService,
    beginnings: tuple[Recording, ...],
    tmp_path: Path,
    protocol: str,
    variable: str,
) -> None:
    done = await run(
        tmp_path,
        "stt-transcribe",
        beginnings[0].path,
        *tls_service.address(protocol),
        **{variable: tls_service.authority},
    )
    assert done == (0, beginnings[0].text + "\n", "")


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_without_it_one_sentence_says_what_is_missing(
    tls_service: TlsService, beginnings: tuple[Recording, ...], tmp_path: Path, protocol: str
) -> None:
    code, output, errors = await run(
        tmp_path, "stt-transcribe", beginnings[0].path, *tls_service.address(protocol)
    )
    assert (code, output) == (5, "")
    assert errors.count("\n") == 1
    assert errors.startswith("stt-transcribe: The certificate of the server at localhost:")
    assert "SSL_CERT_FILE" in errors


async def test_the_workspace_that_readme_names_first(
    tls_service: TlsService, beginnings: tuple[Recording, ...], tmp_path: Path
) -> None:
    """MODAL_WORKSPACE alone; a proxy stands for the way to Modal's host."""
    async with ConnectProxy(tls_service.places) as proxy:
        done = await run(
            tmp_path,
            "stt-transcribe",
            beginnings[0].path,
            MODAL_WORKSPACE="acme",
            MODAL_KEY="wk-1\n",
            MODAL_SECRET="ws-2",
            https_proxy=proxy.address,
            SSL_CERT_FILE=tls_service.authority,
        )
    assert done == (0, beginnings[0].text + "\n", "")
    assert proxy.asked_for == [f"{MODAL_HOST}:443"]


@pytest.mark.parametrize("protocol", ["grpc", "websocket"])
async def test_latency_over_tls(
    tls_service: TlsService, beginnings: tuple[Recording, ...], tmp_path: Path, protocol: str
) -> None:
    report = tmp_path / "figures.json"
    code, _, errors = await run(
        tmp_path,
        "stt-latency",
        "--rtf",
        4,
        "--wav",
        beginnings[0].path,
        "--json",
        report,
        *tls_service.address(protocol),
        SSL_CERT_FILE=tls_service.authority,
    )
    assert (code, errors) == (0, "")
    assert json.loads(report.read_text())["loads"][0]["errors"] == []


@pytest.mark.parametrize(
    ("variables", "code", "words"),
    [
        ({"MODAL_KEY": "wk\u2013x", "MODAL_SECRET": "ws"}, 2, "MODAL_KEY holds"),
        ({"MODAL_WORKSPACE": "a" * 20}, 2, "`stt-modal-url` prints the address"),
        ({"MODAL_WORKSPACE": "my team"}, 2, "is no name of a Modal workspace"),
        ({"SSL_CERT_FILE": "/missing.pem", "MODAL_WORKSPACE": "acme"}, 2, "SSL_CERT_FILE names"),
        (
            {"https_proxy": "http://:1", "MODAL_WORKSPACE": "acme"},
            2,
            "https_proxy is not understood",
        ),
        (
            {"all_proxy": "http://127.0.0.1:9", "MODAL_WORKSPACE": "acme"},
            5,
            "proxy http://127.0.0.1:9",
        ),
    ],
)
@pytest.mark.parametrize("command", ["stt-transcribe", "stt-latency"])
async def test_a_variable_that_is_wrong_is_named_in_one_sentence(
    beginnings: tuple[Recording, ...],
    tmp_path: Path,
    command: str,
    variables: dict[str, str],
    code: int,
    words: str,
) -> None:
    recording = beginnings[0].path
    arguments = [recording] if command == "stt-transcribe" else ["--wav", recording]
    told = await run(tmp_path, command, *arguments, **variables)
    assert told[0] == code
    # The reason for waiting is shown meanwhile; the last line says how it ended.
    assert told[2].splitlines()[-1].startswith(f"{command}: ")
    assert words in told[2]
    assert "Traceback" not in told[2]


def test_the_blocking_client_over_tls(
    service: Service,
    beginnings: tuple[Recording, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a token, which travels in the headers of both."""
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def transcribe_all() -> list[str]:
        async with (
            tls_front(service.grpc, authority.context()) as grpc_port,
            tls_front(service.http, authority.context()) as websocket_port,
        ):
            token = Credentials("wk-1", "ws-2")
            clients = (
                SttClient(f"grpcs://localhost:{grpc_port}", token),
                WebSocketSttClient(f"wss://localhost:{websocket_port}", token),
            )
            return [await asyncio.to_thread(transcribe, client) for client in clients]

    def transcribe(client: SttClient | WebSocketSttClient) -> str:
        with BlockingSttClient(client) as blocking:
            return blocking.transcribe_file(beginnings[0].path).transcript.strip()

    assert asyncio.run(transcribe_all()) == [beginnings[0].text] * 2


@pytest.mark.parametrize("character", ["\u2013", "\n", " ", "é"])
def test_credentials_that_cannot_travel_are_refused_where_they_are_made(character: str) -> None:
    for key, secret, name in (
        (f"wk{character}geheim", "ws", "key"),
        ("wk", f"ws{character}geheim", "secret"),
    ):
        with pytest.raises(ValueError, match=f"The {name} of the credentials holds") as caught:
            Credentials(key, secret)
        assert "geheim" not in str(caught.value)
