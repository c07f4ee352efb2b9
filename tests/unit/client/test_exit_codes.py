"""Every failure of the service has its exit code."""

from __future__ import annotations

import pytest

import client
from client.command.exit_codes import CREDENTIALS, FAILED, UNAVAILABLE, USAGE, exit_code_for
from client.rpc.errors import CLASSES, error_from_reason

CODES = {
    "CallCancelled": FAILED,
    "Idle": FAILED,
    "InvalidAudio": USAGE,
    "InvalidRequest": USAGE,
    "MessageTooLarge": USAGE,
    "NoSuchService": UNAVAILABLE,
    "ServerDraining": UNAVAILABLE,
    "ServerFailed": FAILED,
    "ServerFull": UNAVAILABLE,
    "ServerUnavailable": UNAVAILABLE,
    "ServerUnreachable": UNAVAILABLE,
    "SlowConsumer": FAILED,
    "Unauthenticated": CREDENTIALS,
    "UntrustedServer": UNAVAILABLE,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_every_error_has_its_exit_code(name: str, code: int) -> None:
    assert exit_code_for(getattr(client, name)("no")) == code


def test_no_error_is_forgotten() -> None:
    kinds = {name: getattr(client, name) for name in client.__all__}
    errors = {
        name
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, client.SttError)
    }
    assert errors - {"SttError"} == set(CODES)


@pytest.mark.parametrize("reason", CLASSES)
def test_a_reason_leads_to_the_exit_code_of_its_class(reason: str) -> None:
    error = error_from_reason(reason, "no")
    assert error is not None
    assert exit_code_for(error) == CODES[type(error).__name__]
