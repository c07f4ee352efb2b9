"""The keys that a self-hosted service accepts, their limits, and how callers present them.

A key is a name and a secret, like a proxy auth token of Modal's. Every way to present one comes
down to one token: `KEY:SECRET`, or the secret alone where a protocol has room for one value only.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from stt_service.process.environment import (
    InvalidSetting,
    check_token,
    parse_count,
    read_token_pair,
)

KEY_VARIABLE = "STT_KEY"
SECRET_VARIABLE = "STT_SECRET"  # nosec B105
KEY_HEADER = "modal-key"
SECRET_HEADER = "modal-secret"  # nosec B105
AUTHORIZATION_HEADER = "authorization"
SHORT_SECRET = 16
"""Secrets below this many characters can be guessed; a server warns of them."""

_MOST = 999_999_999
_ENCODING = "utf-8"


@dataclass(frozen=True)
class KeyLimits:
    """What the sessions of one key may take in all; None is no limit."""

    sessions: int | None = None
    """Sessions at once."""
    audio_seconds_per_minute: int | None = None
    """Audio that is read in a minute; a live session is 60."""
    idle_timeout_seconds: int | None = None
    """The longest `idle_timeout` that a session may ask for."""


@dataclass(frozen=True)
class Key:
    """One key. The secret itself is not kept."""

    name: str
    limits: KeyLimits = KeyLimits()
    is_short: bool = False
    """Whether the secret is short enough to be guessed."""
    digests: tuple[bytes, bytes] = field(default=(b"", b""), repr=False)
    """SHA-256 of `KEY:SECRET` and of the secret."""

    @classmethod
    def make(cls, name: str, secret: str, limits: KeyLimits | None = None) -> Key:
        """A key with its secret in the form that is kept."""
        digests = (_digest(f"{name}:{secret}"), _digest(secret))
        return cls(name, limits or KeyLimits(), len(secret) < SHORT_SECRET, digests)


class Keys:
    """The keys that are accepted. `reload` reads the file again, if they are from one."""

    def __init__(self, keys: Iterable[Key], path: Path | None = None) -> None:
        self._keys = tuple(keys)
        self.path = path
        """The file that they are from, if they are from one."""

    @classmethod
    def from_file(cls, path: Path) -> Keys:
        """Read `parse_keys`' format from a file. Raises InvalidSetting."""
        return cls(_read_file(path), path)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Keys | None:
        """The one key in STT_KEY and STT_SECRET, or None. Raises InvalidSetting for half of one."""
        has = "a key has both a name and a secret"
        pair = read_token_pair(environment, KEY_VARIABLE, SECRET_VARIABLE, has)
        if pair is None:
            return None
        if ":" in pair[0]:
            raise InvalidSetting(f"{KEY_VARIABLE} holds a colon, which parts a key from its secret")
        return cls([Key.make(*pair)])

    @property
    def all(self) -> tuple[Key, ...]:
        """Every key."""
        return self._keys

    def reload(self) -> bool:
        """Read the file again; False if there is none. Raises InvalidSetting and keeps the old."""
        if self.path is None:
            return False
        self._keys = _read_file(self.path)
        return True

    def find(self, tokens: Iterable[str]) -> Key | None:
        """The key that one of the tokens opens, or None.

        Each is compared with every key in constant time: how long it takes tells nothing.
        """
        found = None
        for token in tokens:
            digest = _digest(token)
            for key in self._keys:
                for own in key.digests:
                    if hmac.compare_digest(digest, own):
                        found = key
        return found


def read_tokens(headers: Mapping[str, str]) -> list[str]:
    """The tokens that a request presents. Header names are in lower case.

    `Modal-Key` with `Modal-Secret`; `Authorization: Bearer` with `KEY:SECRET` or the secret;
    `Authorization: Basic`, which browsers send after they asked their user.
    """
    tokens: list[str] = []
    if KEY_HEADER in headers and SECRET_HEADER in headers:
        tokens.append(f"{headers[KEY_HEADER]}:{headers[SECRET_HEADER]}")
    scheme, _, value = headers.get(AUTHORIZATION_HEADER, "").strip().partition(" ")
    if scheme.lower() == "bearer":
        tokens.append(value.strip())
    elif scheme.lower() == "basic":
        tokens.extend(_decode_basic(value.strip()))
    return tokens


def parse_keys(text: str) -> tuple[Key, ...]:
    """Read one key a line: `KEY:SECRET [sessions=N] [audio_per_minute=N] [idle_timeout=N]`.

    Empty lines and those that begin with # are skipped. Raises InvalidSetting, which names the
    line and never a secret.
    """
    keys: dict[str, Key] = {}
    secrets: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = _parse_line(line, f"line {number}")
        if key.name in keys:
            raise InvalidSetting(f"line {number}: the key {key.name!r} is there twice")
        if key.digests[1] in secrets:
            raise InvalidSetting(f"line {number}: another key has the same secret")
        keys[key.name] = key
        secrets.add(key.digests[1])
    if not keys:
        raise InvalidSetting("there is no key in it; write KEY:SECRET, one a line")
    return tuple(keys.values())


def _parse_line(line: str, place: str) -> Key:
    pair, *settings = line.split()
    name, colon, secret = pair.partition(":")
    if not colon or not name or not secret:
        raise InvalidSetting(f"{place}: a key is written KEY:SECRET")
    check_token(f"{place}: the key", name)
    check_token(f"{place}: the secret", secret)
    limits = KeyLimits()
    for setting in settings:
        word, _, value = setting.partition("=")
        count = parse_count(value, _MOST)
        match word:
            case "sessions":
                limits = replace(limits, sessions=count)
            case "audio_per_minute":
                limits = replace(limits, audio_seconds_per_minute=count)
            case "idle_timeout":
                limits = replace(limits, idle_timeout_seconds=count)
            case _:
                # Not the word itself: it may be the rest of a secret with a space in it.
                raise InvalidSetting(
                    f"{place}: after the secret there may be sessions=N, audio_per_minute=N and "
                    "idle_timeout=N, and nothing else"
                )
        if count is None:
            raise InvalidSetting(f"{place}: {word} must be a whole number from 1")
    return Key.make(name, secret, limits)


def _read_file(path: Path) -> tuple[Key, ...]:
    try:
        text = path.read_text(_ENCODING)
    except OSError as error:
        raise InvalidSetting(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidSetting(f"{path} is not text in UTF-8") from error
    try:
        return parse_keys(text)
    except InvalidSetting as error:
        raise InvalidSetting(f"{path}: {error}") from error


def _decode_basic(value: str) -> list[str]:
    try:
        return [base64.b64decode(value, validate=True).decode(_ENCODING)]
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return []


def _digest(token: str) -> bytes:
    # Headers come as latin-1 where they are not ASCII; a token of ours is ASCII.
    return sha256(token.encode(_ENCODING, "surrogatepass")).digest()
