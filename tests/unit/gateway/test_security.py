import pytest
from starlette.datastructures import Headers

from gateway.security import CONTENT_SECURITY_POLICY, is_origin_allowed

ALLOWED = frozenset({"https://friend.example", "http://dev.example:3000/"})


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("localhost:8000", "http://localhost:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
        ("stt.example", "https://stt.example"),
        ("stt.example", "https://STT.example:443"),
        ("stt.example:80", "http://stt.example"),
        ("stt.example", "https://friend.example"),
        ("stt.example", "http://dev.example:3000"),
        ("stt.example", None),
    ],
)
def test_allowed_origins(host: str, origin: str | None):
    headers = {"host": host} | ({"origin": origin} if origin is not None else {})
    assert is_origin_allowed(Headers(headers), ALLOWED, local_only=False)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:9000",
        "http://127.0.0.1",
        "http://127.0.0.1:8000.evil.example",
        "http://127.0.0.1:8000@evil.example",
        "https://friend.example.evil.example",
        "http://friend.example",
        "https://friend.example:444",
        "https://dev.example:3000",
        "null",
        "",
        "http://",
        "http://127.0.0.1:port",
        "http://[::1",
    ],
)
def test_refused_origins(origin: str):
    headers = Headers({"host": "127.0.0.1:8000", "origin": origin})
    assert not is_origin_allowed(headers, ALLOWED, local_only=False)


def test_a_request_without_host_matches_no_origin():
    headers = Headers({"origin": "http://127.0.0.1"})
    assert not is_origin_allowed(headers, frozenset(), local_only=False)


@pytest.mark.parametrize(
    ("host", "welcome"),
    [
        ("127.0.0.1:8000", True),
        ("localhost:8000", True),
        ("stt.localhost:8000", True),
        ("[::1]:8000", True),
        ("rebound.evil.example:8000", False),
        ("localhost.evil.example:8000", False),
        ("10.0.0.7:8000", False),
        ("friend.example", True),
    ],
)
def test_local_only_wants_a_loopback_name(host: str, welcome: bool):
    scheme = "https" if host == "friend.example" else "http"
    headers = Headers({"host": host, "origin": f"{scheme}://{host}"})
    assert is_origin_allowed(headers, ALLOWED, local_only=True) is welcome


def test_the_policy_allows_nothing_inline():
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "*" not in CONTENT_SECURITY_POLICY
