"""Environment variables as people set them: pasted with a line end, quoted in an `.env` file.

The gateway and the client read the environment through here, so that a wrong value is one sentence
that names its variable, wherever it is used.
"""

from __future__ import annotations

from collections.abc import Mapping

from stt.endpoint import Credentials, check_token

KEY_VARIABLE = "MODAL_KEY"
SECRET_VARIABLE = "MODAL_SECRET"

_QUOTES = ("'", '"')


def read_variable(environment: Mapping[str, str], name: str) -> str | None:
    """The value without surrounding white space and quotes; None if it is unset or empty.

    Raises ValueError for a character that no setting of ours can hold.
    """
    value = environment.get(name, "").strip()
    # `docker --env-file` and systemd's older parsers keep the quotes of an .env file.
    if len(value) > 1 and value[0] in _QUOTES and value[-1] == value[0]:
        value = value[1:-1].strip()
    if any(not character.isprintable() for character in value):
        raise ValueError(f"{name} holds a line end or another control character in its middle.")
    return value or None


def read_token(environment: Mapping[str, str], name: str) -> str | None:
    """A value that travels in a header: printable ASCII without spaces. Raises ValueError."""
    value = read_variable(environment, name)
    if value is None:
        return None
    check_token(name, value)
    return value


def read_credentials(environment: Mapping[str, str]) -> Credentials | None:
    """The proxy auth token in MODAL_KEY and MODAL_SECRET, or None.

    Raises ValueError for half of one, or for one that cannot travel in a header.
    """
    key = read_token(environment, KEY_VARIABLE)
    secret = read_token(environment, SECRET_VARIABLE)
    if key is None and secret is None:
        return None
    if key is None or secret is None:
        missing = SECRET_VARIABLE if secret is None else KEY_VARIABLE
        raise ValueError(f"{missing} is not set; a proxy auth token has both a key and a secret.")
    return Credentials(key, secret)
