"""stt-serve as a person runs it: options, variables, addresses, TLS, logs."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import trustme

from tests.integration.server.calls import kinds, request_config, stream
from tests.support import Service, own_address, run_service


@dataclass
class Started:
    """A server, the hosts that it listens on by the name of the address, and its log."""

    service: Service
    hosts: dict[str, str]
    log: Path


ADDRESSES = ("grpc", "http", "metrics")


@pytest.fixture(
    scope="module",
    params=[
        (
            ("[::1]", "[::]", "localhost"),
            ["--batch-size", "2"],
            {"BATCH_SIZE": "many", "MODEL_NAME": "'digits'\r\n", "MODAL_KEY": ""},
        ),
        pytest.param(
            (
                ("[::]", "localhost", "[::1]"),
                ["--batch-size", "2", "--model", "digits"],
                {"BATCH_SIZE": "many", "MODEL_NAME": "\n"},
            ),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            (
                ("localhost", "[::1]", "[::]"),
                [],
                {"BATCH_SIZE": ' "2"\n', "MODEL_NAME": "'digits'\r\n"},
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["ipv6", "any", "localhost"],
)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Started]:
    """A server whose every option and variable counts; each of several tests looks at one."""
    names, arguments, environment = request.param
    hosts = dict(zip(ADDRESSES, names, strict=True))
    options = [word for name, host in hosts.items() for word in (f"--{name}", f"{host}:0")]
    path = tmp_path_factory.mktemp("log") / "log"
    with (
        path.open("w") as log,
        run_service(
            *options, *arguments, "--insecure", "--log-format", "json", env=environment, log=log
        ) as service,
    ):
        yield Started(service, hosts, path)


def test_the_command_line_wins_and_variables_are_read_as_people_write_them(
    started: Started,
) -> None:
    assert started.service.fields["model"] == "digits"
    assert started.service.fields["slots"] == "2"


def answers(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as caller:
        return caller.connect_ex((host, port)) == 0


ANSWERED_AT = {"[::1]": (False, True), "[::]": (True, True), "localhost": (True, True)}
"""At 127.0.0.1 and at ::1, by what is listened on."""


async def test_one_rule_for_all_three_addresses(started: Started) -> None:
    fields = started.service.fields
    for name, host in started.hosts.items():
        port = int(fields[name].rpartition(":")[2])
        assert (answers("127.0.0.1", port), answers("::1", port)) == ANSWERED_AT[host], name
    async with grpc.aio.insecure_channel(started.service.grpc) as channel:
        assert kinds(await stream(channel, [request_config()])) == ["ready", "final"]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{started.service.http}/readyz")).status_code == 200
        metrics = await client.get(f"http://{fields['metrics']}/metrics")
        assert "stt_slots_total 2.0" in metrics.text


def test_with_json_logs_every_line_on_standard_error_is_an_object(started: Started) -> None:
    assert started.service.grpc and started.service.http
    events = [json.loads(line)["event"] for line in started.log.read_text().splitlines()]
    assert "loading digits …" in events
    assert any(event.startswith("serving digits, loaded in") for event in events)
    assert "gateway started" in events


async def test_the_gateway_reaches_its_own_server_past_every_proxy(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.create_server(("127.0.0.1", 0)) as proxy, path.open("w") as log:
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "grpc_proxy", "all_proxy", "ALL_PROXY")
        environment = dict.fromkeys(names, address) | {"PYTHONPROFILEIMPORTTIME": "1"}
        own = ("--grpc", f"{own_address()}:0", "--insecure")
        with run_service(*own, env=environment, log=log) as service:
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"http://{service.http}/readyz")).status_code == 200
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    # What a start imports is what it costs.
    imported = {line.rpartition("|")[2].strip() for line in path.read_text().splitlines()}
    assert "torch" in imported
    assert imported.isdisjoint({"torch._dynamo", "sympy"})


async def test_tls_and_client_certificates(tmp_path) -> None:
    authority = trustme.CA()
    identities = {"server": authority.issue_cert("localhost"), "client": authority.issue_cert("me")}
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, identity in identities.items():
        identity.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        identity.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    tls = ("--tls-cert", str(tmp_path / "server.pem"), "--tls-key", str(tmp_path / "server.key"))
    with run_service("--no-gateway", *tls, "--tls-client-ca", str(tmp_path / "ca.pem")) as service:
        target = f"localhost:{service.grpc.rpartition(':')[2]}"
        known = grpc.ssl_channel_credentials(
            files["ca.pem"], files["client.key"], files["client.pem"]
        )
        async with grpc.aio.secure_channel(target, known) as channel:
            assert kinds(await stream(channel, [request_config()])) == ["ready", "final"]
        stranger = grpc.ssl_channel_credentials(files["ca.pem"])
        async with grpc.aio.secure_channel(target, stranger) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await stream(channel, [request_config()])
