"""What stt-serve finds out before it loads anything."""

import socket
from dataclasses import replace

import pytest

from stt_service.config import EngineConfig, ServerConfig
from stt_service.gateway_child import make_environment
from stt_service.process.access import Access
from stt_service.supervisor import (
    ServeFailed,
    ServeOptions,
    check_addresses,
    check_model,
)


def options_with(option: str, address: str) -> ServeOptions:
    anybody = Access(insecure=True)
    server = ServerConfig("127.0.0.1:0", access=anybody)
    options = ServeOptions(EngineConfig(), server, "127.0.0.1:0", "text")
    match option:
        case "--grpc":
            return replace(options, server=replace(server, grpc_address=address))
        case "--http":
            return replace(options, http_address=address)
        case _:
            return replace(options, server=replace(options.server, metrics_address=address))


@pytest.mark.parametrize("option", ["--grpc", "--http", "--metrics"])
@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.200:0", "this machine has no such address"),
        ("[2001:db8::1]:0", "this machine has no such address"),
        ("nobody.invalid:80", "the name cannot be looked up"),
        ("a..b:80", "no host name"),
        ("{taken}", "another program listens there"),
        ("localhost:{port}", "another program listens there"),
        ("[::]:{port}", "another program listens there"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(
    option: str, address: str, reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = address.format(taken=f"127.0.0.1:{port}", port=port)
        with pytest.raises(ServeFailed) as caught:
            check_addresses(options_with(option, address))
    assert str(caught.value).startswith(f"{option}: cannot listen on {address}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::]", "0.0.0.0"])
def test_two_servers_of_one_process_tree_at_one_port_are_told_apart(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"{host}:{port}"
    options = replace(options_with("--grpc", address), http_address=address)
    with pytest.raises(ServeFailed, match=f"--http: --grpc has the port {port} already"):
        check_addresses(options)


def test_no_address_is_held_by_the_check() -> None:
    options = options_with("--metrics", "[::]:0")
    for _ in range(3):
        check_addresses(options)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("{folder}", "has no config.json"),
        ("{folder}/file", "that is a file"),
        ("{folder}/typo", "there is no such folder"),
        ("./typo", "there is no such folder"),
        ("~/typo", "there is no such folder"),
        ("digit", "neither digits, nor a folder, nor a repository"),
        ("a/b/c", "neither digits, nor a folder, nor a repository"),
        ("kyutai/stt 1b", "neither digits, nor a folder, nor a repository"),
        ("kyutai/stt--1b", "neither digits, nor a folder, nor a repository"),
        ("x" * 5000, "neither digits, nor a folder, nor a repository"),
    ],
)
def test_a_model_that_cannot_be_is_named(tmp_path, model: str, reason: str) -> None:
    (tmp_path / "file").touch()
    model = model.format(folder=tmp_path)
    with pytest.raises(ServeFailed) as caught:
        check_model(EngineConfig(model))
    assert str(caught.value).startswith(f"cannot serve {model}: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("model", ["digits", "kyutai/stt-1b-en_fr", "kyutai/stt-2.6b-en", "a/b.c"])
def test_a_model_that_may_be_is_looked_for(model: str) -> None:
    check_model(EngineConfig(model))


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "grpc_proxy", "ALL_PROXY"])
def test_no_proxy_is_handed_on(name: str) -> None:
    assert make_environment({name: "http://proxy:1", "PATH": "/bin"}) == {"PATH": "/bin"}


def test_the_token_of_a_service_elsewhere_is_not_sent_to_ones_own() -> None:
    token = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
    assert make_environment({**token, "STT_KEY": "k", "STT_SECRET": "s"}) == {
        "STT_KEY": "k",
        "STT_SECRET": "s",
    }
