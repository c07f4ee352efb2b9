"""What the end of a connection means to the page."""

from __future__ import annotations

import pytest

from client.rpc.errors import (
    CLASSES,
    InvalidRequest,
    ServerFull,
    Unauthenticated,
    error_from_reason,
)
from client.rpc.reasons import Reason
from gateway.closing import close_for_error
from tests.unit.gateway.web.conftest import Play


def classify(
    play_js: Play, code: int, *, ended: bool, admitted: bool, reason: str | None = None
) -> str:
    session = {"ended": ended, "admitted": admitted} | ({"reason": reason} if reason else {})
    (meaning,) = play_js(closes=[[code, session]])
    return meaning


@pytest.mark.parametrize(
    ("code", "ended", "admitted", "meaning"),
    [
        (1000, True, True, "done"),
        (1000, False, True, "idle"),
        (1013, False, False, "refused"),
        (1013, False, True, "lost"),
        (1012, False, True, "lost"),
        (1006, False, False, "lost"),
        (1011, False, True, "lost"),
        (1011, False, False, "refused"),
        (1007, False, True, "refused"),
        (1008, False, False, "refused"),
        (1009, False, True, "refused"),
    ],
)
def test_without_a_reason_the_close_code_decides(
    play_js: Play, code: int, ended: bool, admitted: bool, meaning: str
) -> None:
    assert classify(play_js, code, ended=ended, admitted=admitted) == meaning


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason != Reason.IDLE_TIMEOUT])
def test_the_page_takes_every_reason_as_the_client_does(play_js: Play, reason: Reason) -> None:
    error = error_from_reason(reason, "no")
    assert error is not None
    code = close_for_error(error).code
    assert code is not None
    at_the_door = classify(play_js, code, ended=False, admitted=False, reason=reason)
    inside = classify(play_js, code, ended=False, admitted=True, reason=reason)

    assert ("full" in (at_the_door, inside)) is (CLASSES[reason] is ServerFull)
    assert (inside == "refused") is isinstance(error, InvalidRequest | Unauthenticated)


def test_a_reason_of_a_newer_gateway_changes_nothing(play_js: Play) -> None:
    assert classify(play_js, 1013, ended=False, admitted=False, reason="MARS") == "refused"
