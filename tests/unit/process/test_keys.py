"""Keys: the file's format, the ways to present one, and what is never shown."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.process.environment import InvalidSetting
from stt_service.process.keys import Key, KeyLimits, Keys, parse_keys, read_tokens

SECRET = "correct-horse-battery-staple"
TEXT = f"""\
# who pays for it
alice:{SECRET}
bob:another-secret-of-bobs sessions=2 audio_per_minute=120 idle_timeout=30
"""
TOKEN_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


def test_a_file_holds_keys_and_their_limits() -> None:
    alice, bob = parse_keys(TEXT)
    assert (alice.name, alice.limits) == ("alice", KeyLimits())
    assert (bob.name, bob.limits) == ("bob", KeyLimits(2, 120, 30))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no key"),
        ("# nobody\n", "no key"),
        ("alice\n", "line 1: a key is written KEY:SECRET"),
        ("\nalice:\n", "line 2: a key is written KEY:SECRET"),
        (":s\n", "line 1: a key is written KEY:SECRET"),
        ("alice:sécret\n", "line 1: the secret holds 'é' as its character 2"),
        ("alice:a\nalice:b\n", "line 2: the key 'alice' is there twice"),
        ("alice:a\nbob:a\n", "line 2: another key has the same secret"),
        ("alice:a sessions=0\n", "line 1: sessions must be a whole number from 1"),
        ("alice:a idle_timeout=ten\n", "line 1: idle_timeout must be a whole number from 1"),
        ("alice:a admin\n", "line 1: after the secret there may be"),
    ],
)
def test_a_wrong_file_is_one_sentence(text: str, complaint: str) -> None:
    with pytest.raises(InvalidSetting, match=complaint):
        parse_keys(text)


@pytest.mark.parametrize("line", [f"{SECRET}:x y", f"a:{SECRET} sessions=x", f"a:b {SECRET}"])
def test_no_complaint_shows_a_secret(line: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse_keys(line)
    assert SECRET not in str(caught.value)


def test_a_key_shows_no_secret() -> None:
    key = Key.make("alice", SECRET)
    assert SECRET not in repr(key)
    assert not any(digest.hex() in repr(key) for digest in key.digests)


@pytest.mark.parametrize(
    "headers",
    [
        {"modal-key": "alice", "modal-secret": SECRET},
        {"authorization": f"Bearer {SECRET}"},
        {"authorization": f"bearer  alice:{SECRET}"},
        {"authorization": "Basic " + base64.b64encode(f"alice:{SECRET}".encode()).decode()},
        {"authorization": "Bearer of-somebody-else", "modal-key": "alice", "modal-secret": SECRET},
    ],
)
def test_each_way_to_present_a_key_opens(headers: dict[str, str]) -> None:
    found = Keys(parse_keys(TEXT)).find(read_tokens(headers))
    assert found is not None
    assert found.name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"modal-key": "alice"},
        {"modal-secret": SECRET},
        {"modal-key": "bob", "modal-secret": SECRET},
        {"modal-key": "alice", "modal-secret": SECRET + " "},
        {"authorization": SECRET},
        {"authorization": "Bearer"},
        {"authorization": "Bearer alice"},
        {"authorization": "Basic %%%"},
        {"authorization": "Basic " + base64.b64encode(b"\xff").decode()},
        {"authorization": "Bearer \udcff"},
    ],
)
def test_anything_else_does_not(headers: dict[str, str]) -> None:
    assert Keys(parse_keys(TEXT)).find(read_tokens(headers)) is None


@given(TOKEN_TEXT, TOKEN_TEXT, TOKEN_TEXT)
def test_only_the_secret_opens(name: str, secret: str, other: str) -> None:
    name = name.replace(":", ".")
    keys = Keys([Key.make(name, secret)])
    opens = keys.find([other]) is not None
    assert opens == (other in (secret, f"{name}:{secret}"))
    assert keys.find([other, secret]) is not None


def test_the_environment_holds_one_key() -> None:
    keys = Keys.from_environment({"STT_KEY": "alice", "STT_SECRET": f" {SECRET}\n"})
    assert keys is not None
    assert keys.find([SECRET]) is not None
    assert Keys.from_environment({}) is None


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"STT_KEY": "alice"}, "STT_SECRET is not set"),
        ({"STT_SECRET": SECRET}, "STT_KEY is not set"),
        ({"STT_KEY": "a:b", "STT_SECRET": SECRET}, "STT_KEY holds a colon"),
    ],
)
def test_half_a_key_is_refused(environment: dict[str, str], complaint: str) -> None:
    with pytest.raises(InvalidSetting, match=complaint):
        Keys.from_environment(environment)


def test_reloading_takes_new_keys_and_keeps_the_old_where_the_file_is_wrong(
    tmp_path: Path,
) -> None:
    path = tmp_path / "keys"
    path.write_text("alice:one\n")
    keys = Keys.from_file(path)
    path.write_text("alice:two\n")
    assert keys.reload()
    assert (keys.find(["one"]), keys.find(["two"])) == (None, keys.all[0])
    path.write_text("alice\n")
    with pytest.raises(InvalidSetting, match=r"keys: line 1: a key is written KEY:SECRET"):
        keys.reload()
    assert keys.find(["two"]) is not None
    path.unlink()
    with pytest.raises(InvalidSetting, match="cannot be read"):
        keys.reload()


def test_keys_that_are_from_no_file_do_not_reload() -> None:
    assert not Keys([Key.make("alice", SECRET)]).reload()


def test_short_secrets_are_marked() -> None:
    assert [key.is_short for key in parse_keys(f"alice:{SECRET}\nbob:short\n")] == [False, True]
