"""Where a server listens without asking anybody who they are."""

import argparse
import logging
from pathlib import Path

import pytest

from stt_service.config import ServerConfig, TlsConfig
from stt_service.process.access import NOBODY_ASKED, Access, add_access_arguments
from stt_service.process.environment import InvalidSetting
from stt_service.process.keys import Key, Keys
from stt_service.process.logs import get_logger

HERE = ("127.0.0.1:0", "127.5.5.5:0", "[::1]:0", "localhost:0", "127.1:0")
EVERYWHERE = ("0.0.0.0:0", "[::]:0", "0:0", "[::ffff:0.0.0.0]:0", "192.0.2.1:0", "[2001:db8::1]:0")
KEYS = Keys([Key.make("alice", "a-secret-that-is-long")])
TLS = TlsConfig(Path("cert"), Path("key"))


@pytest.mark.parametrize("address", HERE)
def test_this_machine_needs_no_key(address: str) -> None:
    NOBODY_ASKED.check_address("--http", address)


@pytest.mark.parametrize("address", EVERYWHERE)
def test_others_need_one_unless_that_is_said(address: str) -> None:
    with pytest.raises(InvalidSetting, match="--keys, or say --insecure") as refused:
        NOBODY_ASKED.check_address("--http", address)
    assert str(refused.value).startswith(f"--http {address} lets other machines in")
    Access(insecure=True).check_address("--http", address)
    Access(KEYS).check_address("--http", address)


def test_a_name_that_nobody_has_is_for_the_bind_to_refuse() -> None:
    NOBODY_ASKED.check_address("--http", "nobody.invalid:0")


@pytest.mark.parametrize("address", EVERYWHERE)
def test_the_grpc_server_is_held_to_it_however_it_is_started(address: str) -> None:
    for fields in ({"grpc_address": address}, {"metrics_address": address}):
        with pytest.raises(InvalidSetting, match="lets other machines in"):
            ServerConfig(**fields)
        with pytest.raises(InvalidSetting, match="lets other machines in"):
            ServerConfig(**fields, tls=TLS)
        ServerConfig(**fields, access=Access(KEYS))
    # Certificates are keys too, but not those of the metrics.
    mutual = TlsConfig(Path("cert"), Path("key"), Path("ca"))
    ServerConfig(grpc_address=address, tls=mutual)
    with pytest.raises(InvalidSetting, match="--metrics"):
        ServerConfig(metrics_address=address, tls=mutual)


def read(arguments: list[str], **environment: str) -> Access:
    parser = argparse.ArgumentParser()
    add_access_arguments(parser, "/metrics")
    return Access.from_arguments(parser.parse_args(arguments), environment)


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("alice:a-secret-that-is-long\n")
    token = {"STT_KEY": "bob", "STT_SECRET": "another-of-the-same"}
    access = read(["--keys", str(path)], **token)
    assert access.find(["bob:another-of-the-same"]) is None
    assert access.find(["alice:a-secret-that-is-long"]) is not None
    access = read([], **token)
    assert access.find(["bob:another-of-the-same"]) is not None
    assert read([]).keys is None


def test_what_is_passed_on_means_the_same(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("alice:a-secret-that-is-long\n")
    given = ["--keys", str(path), "--open-info", "--insecure"]
    assert read(given).to_arguments() == given
    # Its keys are in the environment, which the other process has too.
    token = {"STT_KEY": "bob", "STT_SECRET": "another-of-the-same"}
    assert read([], **token).to_arguments() == []


def test_what_can_be_guessed_is_named_without_it(tmp_path: Path, caplog) -> None:
    path = tmp_path / "keys"
    path.write_text("alice:plover\nbob:a-secret-that-is-long\n")
    with caplog.at_level(logging.INFO):
        access = read(["--keys", str(path)])
        access.warn_of_short_secrets(get_logger("test"))
        access.reload(get_logger("test"))
        path.write_text("alice:plo ver\n")
        access.reload(get_logger("test"))
    said = [str(record.msg) for record in caplog.records]
    assert [("alice" in each, "reloaded" in each) for each in said] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert "plo" not in "".join(said).replace("plover\n", "")
    assert access.find(["alice:plover"]) is not None
