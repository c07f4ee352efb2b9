"""HOST:PORT, as every address option takes it."""

import pytest

from stt_service.process.address import is_loopback, join_host_port, split_host_port


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("127.0.0.1:8000", "127.0.0.1", 8000),
        ("localhost:0", "localhost", 0),
        ("speech.example", "speech.example", None),
        ("[::1]:7000", "::1", 7000),
        ("[::]:7000", "::", 7000),
    ],
)
def test_an_address_is_split_and_joined_again(address: str, host: str, port: int | None):
    assert split_host_port(address) == (host, port)
    if port is not None:
        assert join_host_port(host, port) == address


@pytest.mark.parametrize(
    "address", ["", ":80", "::1:80", "a:b", "a:99999", "a:-1", "a/b:1", "u@a:1", "[::1:80", "a?b"]
)
def test_anything_else_is_refused(address: str):
    with pytest.raises(ValueError):
        split_host_port(address)


@pytest.mark.parametrize("host", ["localhost", "api.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_is_known_by_all_its_names(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["example.com", "0.0.0.0", "::", "10.0.0.1", "localhost.example"])
def test_no_other_host_is_this_machine(host: str):
    assert not is_loopback(host)
