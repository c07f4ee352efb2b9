"""How a WebSocket session ends: close codes, and the table that maps errors to them."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from client.rpc.errors import (
    Idle,
    InvalidAudio,
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerDraining,
    ServerFull,
    ServerUnavailable,
    SlowConsumer,
    SttError,
    Unauthenticated,
)
from client.rpc.reasons import Reason


class CloseCode(IntEnum):
    """The close codes that the gateway sends (RFC 6455 section 7.4.1 and its IANA registry)."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    BAD_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class Outcome(StrEnum):
    """How a session ended, as named in metrics and logs."""

    FINISHED = "finished"
    IDLE = "idle"
    CLIENT_GONE = "client_gone"
    BAD_REQUEST = "bad_request"
    BAD_AUDIO = "bad_audio"
    TOO_BIG = "too_big"
    SLOW_CLIENT = "slow_client"
    FULL = "full"
    UNAVAILABLE = "unavailable"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True)
class Closing:
    """The end of a session: an optional `error` message, then the close.

    `code` and `text` go into the close frame; `code` is None if the client has disconnected.
    `error` is the text of the message, and `reason` the name for clients that ask for it.
    """

    outcome: Outcome
    code: CloseCode | None
    text: str = ""
    error: str | None = None
    reason: str | None = None


FINISHED = Closing(Outcome.FINISHED, CloseCode.NORMAL)
NOTHING_SAID = Closing(Outcome.IDLE, CloseCode.NORMAL, "idle")
"""The client has opened a WebSocket and not said what for."""
CLIENT_GONE = Closing(Outcome.CLIENT_GONE, None)
GATEWAY_RESTARTS = Closing(
    Outcome.RESTARTING,
    CloseCode.SERVICE_RESTART,
    "restarting",
    "The gateway is restarting. Connect again.",
    Reason.DRAINING,
)


# The first row whose class matches the error is used. The last column is the reason that the client
# gets if the service gave none.
_CLOSES: tuple[tuple[type[SttError], Outcome, CloseCode, str, Reason], ...] = (
    (
        MessageTooLarge,
        Outcome.TOO_BIG,
        CloseCode.TOO_BIG,
        "message too big",
        Reason.MESSAGE_TOO_LARGE,
    ),
    (InvalidAudio, Outcome.BAD_AUDIO, CloseCode.BAD_DATA, "bad audio", Reason.INVALID_AUDIO),
    (InvalidRequest, Outcome.BAD_REQUEST, CloseCode.POLICY, "bad request", Reason.INVALID_REQUEST),
    (SlowConsumer, Outcome.SLOW_CLIENT, CloseCode.POLICY, "slow consumer", Reason.SLOW_CONSUMER),
    (Idle, Outcome.IDLE, CloseCode.NORMAL, "idle", Reason.IDLE_TIMEOUT),
    (ServerFull, Outcome.FULL, CloseCode.TRY_AGAIN_LATER, "server full", Reason.UPSTREAM_FULL),
    (
        ServerDraining,
        Outcome.RESTARTING,
        CloseCode.SERVICE_RESTART,
        "service restarting",
        Reason.DRAINING,
    ),
    (
        ServerUnavailable,
        Outcome.UNAVAILABLE,
        CloseCode.TRY_AGAIN_LATER,
        "service unavailable",
        Reason.UPSTREAM_UNAVAILABLE,
    ),
    (
        Unauthenticated,
        Outcome.FAILED,
        CloseCode.INTERNAL,
        "gateway set up wrongly",
        Reason.UPSTREAM_REFUSED,
    ),
    (
        NoSuchService,
        Outcome.FAILED,
        CloseCode.INTERNAL,
        "gateway set up wrongly",
        Reason.UPSTREAM_REFUSED,
    ),
    (SttError, Outcome.FAILED, CloseCode.INTERNAL, "service failed", Reason.UPSTREAM_FAILED),
)


def close_for_bad_request(error: str) -> Closing:
    """The query string or a text message is invalid."""
    return close_for_error(InvalidRequest(error))


def close_for_too_big(limit_bytes: int) -> Closing:
    """One WebSocket message is larger than the limit."""
    return close_for_error(
        MessageTooLarge(
            f"A message is larger than the limit of {limit_bytes:,} bytes. "
            "Send the audio in smaller messages; pieces of 80 ms are usual."
        )
    )


def close_for_violation(code: int, text: str, limit_bytes: int) -> Closing:
    """What the client sent breaks the WebSocket protocol (RFC 6455), or is too much at once."""
    match code:
        case CloseCode.TOO_BIG:
            return close_for_too_big(limit_bytes)
        case CloseCode.TRY_AGAIN_LATER:
            return Closing(
                Outcome.FULL,
                CloseCode.TRY_AGAIN_LATER,
                "too many large messages",
                "Too many clients send large messages now. Send the audio in smaller ones.",
                Reason.OVERLOADED,
            )
        case CloseCode.BAD_DATA:
            return Closing(
                Outcome.BAD_REQUEST,
                CloseCode.BAD_DATA,
                "not UTF-8",
                "A text message is not UTF-8.",
                Reason.INVALID_REQUEST,
            )
        case _:
            return Closing(
                Outcome.BAD_REQUEST,
                CloseCode.PROTOCOL_ERROR,
                "protocol error",
                f"What was sent breaks the WebSocket protocol: {text}.",
                Reason.INVALID_REQUEST,
            )


def close_for_gateway_fault() -> Closing:
    """The gateway itself failed; its log says why."""
    return Closing(
        Outcome.FAILED,
        CloseCode.INTERNAL,
        "internal error",
        "The gateway failed. Connect again.",
        Reason.INTERNAL,
    )


def close_for_error(error: SttError) -> Closing:
    """The close for an error: what the client gets when a session fails."""
    if error.reason == Reason.UNAUTHENTICATED:
        return Closing(
            Outcome.BAD_REQUEST, CloseCode.POLICY, "key refused", str(error), error.reason
        )
    _, outcome, code, text, reason = next(row for row in _CLOSES if isinstance(error, row[0]))
    message: str | None = str(error)
    match error:
        case Idle():
            # All audio was transcribed and delivered, so this is not an error.
            message = None
        case Unauthenticated() | NoSuchService():
            # An edge refuses the gateway's own credentials; the client's key has a reason.
            message = f"The gateway cannot use the service behind it. {error}"
        case _:
            pass
    return Closing(outcome, code, text, message, error.reason or reason)
