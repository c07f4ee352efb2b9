import contextlib
import logging
from pathlib import Path

import pytest
import trustme
from starlette.datastructures import Headers

from client.rpc.endpoint import Endpoint
from gateway.command import build_parser
from gateway.config import (
    GatewayConfig,
    check_origin,
    config_from_arguments,
    parse_upstream,
)
from gateway.security import is_origin_allowed
from gateway.tls import UpstreamFiles
from stt_service.process.listening import listen

UPSTREAM = Endpoint.parse("127.0.0.1:50051")
KEYS = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}


def test_the_command_line_has_the_defaults_of_the_configuration():
    arguments = build_parser().parse_args(["--upstream", "127.0.0.1:50051"])
    assert config_from_arguments(arguments, {}) == GatewayConfig(UPSTREAM)
    assert arguments.http == "127.0.0.1:8000"


def test_options_reach_the_configuration():
    arguments = build_parser().parse_args(
        [
            *("--upstream", "https://example.modal.run", "--patience", "7", "--grace", "2.5"),
            *("--max-message-mib", "0.5", "--max-connections", "77", "--max-waiting", "8"),
            *("--max-buffered-mib", "1.5"),
            *("--allow-origin", "https://a.example", "--allow-origin", "https://b.example:8443"),
        ]
    )
    config = config_from_arguments(arguments, KEYS)
    assert config.patience_s == 7
    assert config.grace_s == 2.5
    assert config.max_message_bytes == 512 * 1024
    assert (config.max_connections, config.max_waiting) == (77, 8)
    assert config.max_buffered_bytes == 1536 * 1024
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
        {"max_connections": 0},
        {"max_waiting": 0},
        {"max_buffered_bytes": 0},
        {"ping_interval_s": 0.0},
        {"allow_origins": frozenset({"example.com"})},
        {"allow_origins": frozenset({"https://example.com/page"})},
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object]):
    with pytest.raises(ValueError, match="must be"):
        GatewayConfig(UPSTREAM, **wrong)


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "",
            "*",
            "null",
            "example.com",
            "https://",
            "https://*.example",
            "https://a.example/page",
        ),
        *("https://a.example?q", "https://a.example#f", "https://u@a.example", "https://[::1"),
        *("https://b\u00fc.example", "https://a.example:99999", "https://a.example:0"),
        "https://a,https://b",
    ],
)
def test_invalid_origins_are_refused(origin: str):
    with pytest.raises(ValueError, match=r"must be scheme and host"):
        check_origin(origin)


@pytest.mark.parametrize(
    "origin",
    ["https://a.example", "http://a.example/", "http://[::1]:8000", "chrome-extension://abcdef"],
)
def test_origins(origin: str):
    check_origin(origin)


class TestWhoMayConnect:
    """The protection against DNS rebinding follows the sockets, however the host was spelled."""

    def allows(self, host: str, page: str) -> bool:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(each) for each in listen(host, 0)]
            port = sockets[0].getsockname()[1]
            config = GatewayConfig(UPSTREAM).listening_at(host, sockets)
        headers = Headers({"origin": f"http://{page}:{port}", "host": f"{page}:{port}"})
        return is_origin_allowed(headers, config.allow_origins, local_only=config.local_only)

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "127.0.0.2", "127.1", "::1", "::ffff:127.0.0.1", "localhost"]
    )
    def test_pages_of_other_names_do_not_reach_a_gateway_for_this_machine(self, host: str):
        assert not self.allows(host, "rebound.example")
        assert self.allows(host, "localhost")
        assert self.allows(host, "127.0.0.1")
        assert self.allows(host, "[::1]")

    def test_a_name_that_leads_to_this_machine_is_one_of_its_own(self):
        name = "127.1"
        assert self.allows(name, name)
        assert not self.allows(name, "rebound.example")

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_a_gateway_for_every_machine_may_have_any_name(self, host: str):
        assert self.allows(host, "stt.example")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:0", "port 0"),
        ("127.0.0.1:99999", "port"),
        (":50051", "host"),
        ("http://", "host"),
        ("[::1", "not understood"),
        ("ftp://a", "scheme"),
        ("https://a/path", "more than host and port"),
        ("a\udcff:1", "character"),
    ],
)
def test_an_invalid_upstream_is_named(address: str, says: str):
    with pytest.raises(ValueError, match=says) as caught:
        parse_upstream(address, environment={})
    assert str(caught.value).startswith(f"--upstream {address}")


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
    endpoint = parse_upstream("https://example.com", UpstreamFiles(ca), {})
    assert endpoint.tls is not None
    assert endpoint.tls.root_certificates == ca.read_bytes()
    with pytest.raises(ValueError, match="are for TLS"):
        parse_upstream("example.com:443", UpstreamFiles(ca), {})


@pytest.mark.parametrize("content", [b"", b"PEM", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_ca_file_without_certificates_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ValueError, match=r"--upstream-ca .*ca\.pem holds no certificate"):
        parse_upstream("https://example.com", UpstreamFiles(tmp_path / "ca.pem"), {})


@pytest.mark.parametrize("name", ["none.pem", ".", "none.pem/ca.pem", "n" * 300])
def test_a_ca_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str):
    with pytest.raises(ValueError, match=r"--upstream-ca .* cannot be read"):
        parse_upstream("https://example.com", UpstreamFiles(tmp_path / name), {})
