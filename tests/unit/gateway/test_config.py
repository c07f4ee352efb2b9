import logging
from pathlib import Path

import pytest
import trustme

from gateway.__main__ import build_parser
from gateway.config import (
    GatewayConfig,
    HttpAddress,
    config_from_arguments,
    parse_upstream,
)
from stt.endpoint import Endpoint

UPSTREAM = Endpoint.parse("127.0.0.1:50051")
KEYS = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}


def test_the_command_lines_defaults_are_the_configurations():
    arguments = build_parser().parse_args(["--upstream", "127.0.0.1:50051"])
    assert config_from_arguments(arguments, {}) == GatewayConfig(UPSTREAM, local_only=True)
    assert HttpAddress.parse(arguments.http) == HttpAddress("127.0.0.1", 8000)


def test_options_reach_the_configuration():
    arguments = build_parser().parse_args(
        [
            *("--upstream", "https://example.modal.run", "--patience", "7", "--grace", "2.5"),
            *("--max-message-mib", "0.5", "--http", "0.0.0.0:80"),
            *("--allow-origin", "https://a.example", "--allow-origin", "https://b.example:8443"),
        ]
    )
    config = config_from_arguments(arguments, KEYS)
    assert config.patience_s == 7
    assert not config.local_only
    assert config.grace_s == 2.5
    assert config.max_message_bytes == 512 * 1024
    assert config.allow_origins == {"https://a.example", "https://b.example:8443"}
    assert config.upstream.metadata == (("modal-key", "wk-1"), ("modal-secret", "ws-1"))
    assert "ws-1" not in repr(config)


@pytest.mark.parametrize(
    "wrong",
    [
        {"patience_s": -1.0},
        {"patience_s": float("nan")},
        {"grace_s": float("inf")},
        {"max_message_bytes": 0},
        {"buffer_bytes": 0},
        {"ping_interval_s": 0.0},
        {"allow_origins": frozenset({"example.com"})},
        {"allow_origins": frozenset({"https://example.com/page"})},
    ],
)
def test_values_that_cannot_work_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="must be"):
        GatewayConfig(UPSTREAM, **wrong)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", HttpAddress("127.0.0.1", 8000)),
        ("localhost:0", HttpAddress("localhost", 0)),
        ("[::1]:80", HttpAddress("::1", 80)),
    ],
)
def test_http_addresses(text: str, address: HttpAddress):
    assert HttpAddress.parse(text) == address


@pytest.mark.parametrize("text", ["", "8000", ":8000", "host", "host:port", "host:99999", "h:1/x"])
def test_what_is_no_http_address(text: str):
    with pytest.raises(ValueError, match="HOST:PORT"):
        HttpAddress.parse(text)


class TestCredentials:
    @pytest.mark.parametrize("address", ["https://example.com", "127.0.0.1:50051"])
    def test_they_go_over_tls_and_to_this_machine(self, address: str):
        assert parse_upstream(address, environment=KEYS).credentials is not None

    def test_they_do_not_go_anywhere_else(self, caplog: pytest.LogCaptureFixture):
        with caplog.at_level(logging.WARNING):
            endpoint = parse_upstream("stt.example:50051", environment=KEYS)
        assert endpoint.credentials is None
        assert "not sent" in caplog.text
        assert "ws-1" not in caplog.text


def test_a_ca_file_is_read(tmp_path: Path):
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    endpoint = parse_upstream("https://example.com", str(ca), {})
    assert endpoint.tls is not None
    assert endpoint.tls.root_certificates == ca.read_bytes()
    (tmp_path / "hello.pem").write_bytes(b"hello")
    with pytest.raises(ValueError, match="certificates in PEM format"):
        parse_upstream("https://example.com", str(tmp_path / "hello.pem"), {})
    with pytest.raises(ValueError, match="cannot be read"):
        parse_upstream("https://example.com", str(tmp_path / "none.pem"), {})
