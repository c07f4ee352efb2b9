import pytest

from client.rpc.errors import (
    CallCancelled,
    Idle,
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    Unauthenticated,
)
from gateway.closing import (
    CloseCode,
    Closing,
    Outcome,
    close_for_bad_request,
    close_for_gateway_fault,
    close_for_too_big,
    close_for_upstream_error,
)

LONGEST_REASON_BYTES = 123  # RFC 6455 section 5.5: a control frame holds 125, the code takes 2.


@pytest.mark.parametrize(
    ("error", "admitted", "outcome", "code"),
    [
        (Idle("no audio"), True, Outcome.IDLE, 1000),
        (InvalidRequest("rate"), False, Outcome.BAD_REQUEST, 1008),
        (InvalidRequest("not finite"), True, Outcome.BAD_AUDIO, 1007),
        (MessageTooLarge("large"), True, Outcome.TOO_BIG, 1009),
        (ServerFull("full", 1.0), False, Outcome.FULL, 1013),
        (ServerUnavailable("draining", 1.0), True, Outcome.RESTARTING, 1012),
        (ServerUnavailable("broke"), True, Outcome.UNAVAILABLE, 1013),
        (ServerUnreachable("nobody"), False, Outcome.UNAVAILABLE, 1013),
        (Unauthenticated("401"), False, Outcome.FAILED, 1011),
        (NoSuchService("html"), False, Outcome.FAILED, 1011),
        (CallCancelled("cancelled"), True, Outcome.FAILED, 1011),
        (ServerFailed("died"), True, Outcome.FAILED, 1011),
    ],
)
def test_every_error_of_the_service_has_its_close(
    error: SttError, admitted: bool, outcome: Outcome, code: int
):
    closing = close_for_upstream_error(error, admitted=admitted)
    assert (closing.outcome, closing.code) == (outcome, code)
    if outcome is Outcome.IDLE:
        assert closing.error is None
        assert closing.reason == "idle"
    else:
        assert closing.error is not None
        assert str(error) in closing.error


@pytest.mark.parametrize(
    "closing",
    [
        close_for_bad_request("x" * 5000),
        close_for_too_big(100, 10),
        close_for_gateway_fault(),
        *(
            close_for_upstream_error(kind("x" * 5000), admitted=True)
            for kind in (Idle, InvalidRequest, ServerFull, ServerUnavailable, ServerFailed)
        ),
    ],
)
def test_a_reason_fits_into_a_close_frame(closing: Closing):
    assert len(closing.reason.encode()) <= LONGEST_REASON_BYTES
    assert closing.code in CloseCode


def test_too_big_says_how_big_is_not():
    closing = close_for_too_big(100_000_000, 67_108_864)
    assert closing.code == 1009
    assert "67,108,864" in (closing.error or "")
