"""Which proxy the environment names, for each protocol."""

import os

import pytest

from client.rpc.proxy import find_proxy

CASES = [("grpc", False), ("grpc", True), ("ws", False), ("wss", True)]
VARIABLES = ("http", "https", "all", "grpc", "ws", "wss", "no", "socks")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_PROXY".upper(), raising=False)


def found(protocol: str, secure: bool, host: str = "speech.example", port: int = 443) -> str | None:
    proxy = find_proxy(host, port, protocol, secure=secure)
    return None if proxy is None else proxy.host


@pytest.mark.parametrize(("protocol", "secure"), CASES)
def test_without_variables_there_is_none(protocol: str, secure: bool) -> None:
    assert found(protocol, secure) is None


@pytest.mark.parametrize("change_case", [str.lower, str.upper])
@pytest.mark.parametrize(("protocol", "secure"), CASES)
def test_one_order_for_both_protocols_and_either_case(
    protocol: str, secure: bool, change_case: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last that is asked to the first: each one set goes before those set until then."""
    last_to_first = ["all", *([] if secure else ["http"]), "https", protocol]
    for name in last_to_first:
        monkeypatch.setenv(change_case(f"{name}_proxy"), f"http://{name}.proxy:3128")
        assert found(protocol, secure) == f"{name}.proxy"


@pytest.mark.parametrize("protocol", ["grpc", "wss"])
def test_the_proxy_for_plain_http_is_not_for_tls(
    protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert found(protocol, True) is None


@pytest.mark.parametrize(
    ("exceptions", "host"),
    [
        ("*", "speech.example"),
        ("speech.example", "speech.example"),
        ("a.b, .example", "speech.example"),
        ("speech.example:443", "speech.example"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("fd00::/8", "fd00::1"),
        ("10.1.2.3", "10.1.2.3"),
    ],
)
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(("protocol", "secure"), CASES)
def test_exceptions_hold_for_both_protocols(
    protocol: str,
    secure: bool,
    name: str,
    exceptions: str,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    assert found(protocol, secure, host) == "proxy"
    monkeypatch.setenv(name, exceptions)
    assert found(protocol, secure, host) is None
    assert found(protocol, secure, "other.host") == (None if exceptions == "*" else "proxy")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "127.3.2.1", "a.localhost"])
@pytest.mark.parametrize(("protocol", "secure"), CASES)
def test_this_machine_is_never_reached_through_a_proxy(
    protocol: str, secure: bool, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://proxy:1")
    assert found(protocol, secure, host) is None


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("proxy:3128", "http://proxy:3128"),
        ("proxy", "http://proxy:80"),
        (" http://proxy:3128/ ", "http://proxy:3128"),
        ("https://proxy", "https://proxy:443"),
        ("user:p%40ss@proxy:3128", "http://user:p%40ss@proxy:3128"),
        ("http://user@proxy:3128", "http://user:@proxy:3128"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("socks5://proxy", "socks5://proxy:1080"),
    ],
)
def test_a_proxy_as_people_write_it(value: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", value)
    proxy = find_proxy("speech.example", 443, "grpc", secure=True)
    assert proxy is not None
    assert proxy.url == url
    assert "p%40ss" not in str(proxy) + repr(proxy)
    assert "https_proxy" in str(proxy)


@pytest.mark.parametrize(
    "value",
    [
        "http://",
        "proxy:port",
        "http://u:geheim@:1",
        "http://[::1",
        "http://geheim@proxy/path",
        "a b:1",
    ],
)
def test_one_that_is_not_understood_is_named_without_its_password(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ValueError, match="https_proxy is not understood") as caught:
        find_proxy("speech.example", 443, "wss", secure=True)
    assert "geheim" not in str(caught.value)


def test_another_scheme_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "ftp://proxy")
    with pytest.raises(ValueError, match="all_proxy has the scheme 'ftp'"):
        find_proxy("speech.example", 443, "grpc", secure=True)
    assert "all_proxy" in os.environ
