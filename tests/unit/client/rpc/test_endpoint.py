"""Addresses as people type them."""

import pytest

from client.rpc.endpoint import Credentials, Endpoint, Tls


@pytest.mark.parametrize(
    ("address", "target", "has_tls"),
    [
        ("127.0.0.1:50051", "127.0.0.1:50051", False),
        ("localhost", "localhost:50051", False),
        ("http://speech:80", "speech:80", False),
        ("grpc://speech", "speech:50051", False),
        ("[::1]:7000", "[::1]:7000", False),
        ("https://team--stt.modal.run", "team--stt.modal.run:443", True),
        ("https://team--stt.modal.run/", "team--stt.modal.run:443", True),
        ("grpcs://speech:8443", "speech:8443", True),
    ],
)
def test_parse_reads_host_port_and_scheme(address: str, target: str, has_tls: bool) -> None:
    endpoint = Endpoint.parse(address)

    assert endpoint.target == target
    assert (endpoint.tls is not None) == has_tls


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("ftp://speech:21", "scheme 'ftp'"),
        ("speech:port", "no valid port"),
        ("speech:99999", "no valid port"),
        (":50051", "names no host"),
        ("", "names no host"),
        ("https://speech/v1/stream", "more than host and port"),
    ],
)
def test_parse_refuses_with_a_sentence(address: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Endpoint.parse(address)


def test_metadata_keys_are_lower_case_as_grpc_wants_them() -> None:
    endpoint = Endpoint.parse("speech", Credentials("wk-1", "ws-2"))

    assert endpoint.metadata == (("modal-key", "wk-1"), ("modal-secret", "ws-2"))


def test_secrets_are_not_in_the_repr() -> None:
    endpoint = Endpoint("speech", 1, Tls(private_key=b"PEM-KEY"), Credentials("wk-1", "ws-2"))

    assert "ws-2" not in repr(endpoint)
    assert "PEM-KEY" not in repr(endpoint)


def test_custom_roots_are_kept_for_tls() -> None:
    assert Endpoint.parse("https://speech", root_certificates=b"PEM").tls == Tls(b"PEM")
