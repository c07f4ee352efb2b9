"""Environment variables as people set them: pasted with a line end, quoted in an `.env` file.

Every program of ours reads the environment through here, so that a wrong value is one sentence that
names its variable, wherever it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

KEY_VARIABLE = "MODAL_KEY"
SECRET_VARIABLE = "MODAL_SECRET"  # nosec B105

_COUNT = re.compile(r"[0-9]{1,9}")
_QUOTES = ("'", '"')


class InvalidSetting(ValueError):
    """A setting is wrong; the message says which, and what it may be."""


def read_variable(environment: Mapping[str, str], name: str, default: str = "") -> str:
    """A variable without surrounding white space and quotes; the default if nothing is left.

    Raises InvalidSetting for a character that no setting of ours can hold.
    """
    value = environment.get(name, "").strip()
    # `docker --env-file` and systemd's older parsers keep the quotes of an .env file.
    if len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]:
        value = value[1:-1].strip()
    for position, character in enumerate(value, start=1):
        if not character.isprintable():
            raise InvalidSetting(
                f"{name} holds {character!r} as its character {position}, which no setting can; "
                "type it again"
            )
    return value or default


def parse_count(text: str, most: int) -> int | None:
    """A whole number from 1 to `most` in plain digits; None if it is anything else."""
    return int(text) if _COUNT.fullmatch(text) and 1 <= int(text) <= most else None


def check_token(name: str, value: str) -> None:
    """Raise InvalidSetting, naming `name` and not the value, unless it is printable ASCII."""
    for position, character in enumerate(value, start=1):
        if not "!" <= character <= "~":
            # The character itself and not the value: this is a secret.
            raise InvalidSetting(
                f"{name} holds {character!r} as its character {position}; a token has only ASCII "
                "letters, digits and signs, so copy it again"
            )


def read_token(environment: Mapping[str, str], name: str) -> str:
    """A value that travels in a header; empty if it is unset. Raises InvalidSetting."""
    value = read_variable(environment, name)
    check_token(name, value)
    return value


def read_proxy_token(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Key and secret of the proxy auth token in MODAL_KEY and MODAL_SECRET, or None.

    Raises InvalidSetting for half of one, or for one that cannot travel in a header.
    """
    has = "a proxy auth token has both a key and a secret"
    return read_token_pair(environment, KEY_VARIABLE, SECRET_VARIABLE, has)


def read_token_pair(
    environment: Mapping[str, str], first: str, second: str, has: str
) -> tuple[str, str] | None:
    """Two values that go together; None if neither is set. `has` says why one is not enough.

    Raises InvalidSetting for one alone, or for one that cannot travel in a header.
    """
    pair = read_token(environment, first), read_token(environment, second)
    if not any(pair):
        return None
    for name, value in zip((first, second), pair, strict=True):
        if not value:
            raise InvalidSetting(f"{name} is not set; {has}")
    return pair
