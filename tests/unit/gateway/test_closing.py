import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.rpc.errors import (
    CallCancelled,
    Idle,
    InvalidAudio,
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerDraining,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    ServerUnreachable,
    SlowConsumer,
    SttError,
    Unauthenticated,
    error_from_reason,
)
from gateway.closing import (
    CloseCode,
    Closing,
    Outcome,
    close_for_bad_request,
    close_for_error,
    close_for_gateway_fault,
    close_for_too_big,
)
from stt.v1 import stt_pb2

MAX_REASON_BYTES = 123  # RFC 6455 section 5.5: a control frame holds 125, the code takes 2.


@pytest.mark.parametrize(
    ("error", "outcome", "code", "reason"),
    [
        (Idle("no audio"), Outcome.IDLE, 1000, "IDLE_TIMEOUT"),
        (InvalidRequest("rate"), Outcome.BAD_REQUEST, 1008, "INVALID_REQUEST"),
        (InvalidAudio("not finite"), Outcome.BAD_AUDIO, 1007, "INVALID_AUDIO"),
        (MessageTooLarge("large"), Outcome.TOO_BIG, 1009, "MESSAGE_TOO_LARGE"),
        (SlowConsumer("30 s"), Outcome.SLOW_CLIENT, 1008, "SLOW_CONSUMER"),
        (ServerFull("429", 1.0), Outcome.FULL, 1013, "UPSTREAM_FULL"),
        (ServerFull("slots", reason="NO_FREE_SLOT"), Outcome.FULL, 1013, "NO_FREE_SLOT"),
        (ServerDraining("draining"), Outcome.RESTARTING, 1012, "DRAINING"),
        (ServerUnavailable("broke"), Outcome.UNAVAILABLE, 1013, "UPSTREAM_UNAVAILABLE"),
        (ServerUnavailable("broke", 1.0), Outcome.UNAVAILABLE, 1013, "UPSTREAM_UNAVAILABLE"),
        (ServerUnreachable("nobody"), Outcome.UNAVAILABLE, 1013, "UPSTREAM_UNAVAILABLE"),
        (Unauthenticated("401"), Outcome.FAILED, 1011, "UPSTREAM_REFUSED"),
        (NoSuchService("html"), Outcome.FAILED, 1011, "UPSTREAM_REFUSED"),
        (CallCancelled("cancelled"), Outcome.FAILED, 1011, "UPSTREAM_FAILED"),
        (ServerFailed("died"), Outcome.FAILED, 1011, "UPSTREAM_FAILED"),
        (ServerFailed("died", reason="ENGINE_DIED"), Outcome.FAILED, 1011, "ENGINE_DIED"),
    ],
)
def test_every_error_of_the_service_has_its_close(
    error: SttError, outcome: Outcome, code: int, reason: str
):
    closing = close_for_error(error)
    assert (closing.outcome, closing.code, closing.reason) == (outcome, code, reason)
    if outcome is Outcome.IDLE:
        assert closing.error is None
        assert closing.text == "idle"
    else:
        assert closing.error is not None
        assert str(error) in closing.error


@pytest.mark.parametrize(
    "closing",
    [
        close_for_bad_request("x" * 5000),
        close_for_too_big(10),
        close_for_gateway_fault(),
        *(
            close_for_error(kind("x" * 5000))
            for kind in (Idle, InvalidRequest, ServerFull, ServerUnavailable, ServerFailed)
        ),
    ],
)
def test_the_text_fits_into_a_close_frame(closing: Closing):
    assert len(closing.text.encode()) <= MAX_REASON_BYTES
    assert closing.code in CloseCode


def test_too_big_names_the_limit():
    closing = close_for_too_big(67_108_864)
    assert closing.code == 1009
    assert "67,108,864" in (closing.error or "")


CODES = {
    "INVALID_REQUEST": 1008,
    "INVALID_AUDIO": 1007,
    "MESSAGE_TOO_LARGE": 1009,
    "NO_FREE_SLOT": 1013,
    "OVERLOADED": 1013,
    "UNAUTHENTICATED": 1008,
    "TOO_MANY_SESSIONS": 1013,
    "WARMING_UP": 1013,
    "DRAINING": 1012,
    "IDLE_TIMEOUT": 1000,
    "SLOW_CONSUMER": 1008,
    "ENGINE_DIED": 1011,
    "INTERNAL": 1011,
}


def test_every_reason_of_the_contract_has_a_close_code():
    names = stt_pb2.ErrorReason.keys()
    assert {f"ERROR_REASON_{name}" for name in CODES} == set(names) - {names[0]}


@given(reason=st.sampled_from(sorted(CODES)), text=st.text())
def test_the_reason_and_not_the_text_decides(reason: str, text: str):
    error = error_from_reason(reason, text)
    assert error is not None
    closing = close_for_error(error)
    assert (closing.code, closing.reason) == (CODES[reason], reason)
