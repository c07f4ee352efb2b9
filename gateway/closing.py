"""How a WebSocket session ends: the close codes, and the one table that leads to them."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from client.rpc.errors import (
    Idle,
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerFull,
    ServerUnavailable,
    SttError,
    Unauthenticated,
)


class CloseCode(IntEnum):
    """The close codes that the gateway sends (RFC 6455 section 7.4.1 and its IANA registry)."""

    NORMAL = 1000
    BAD_DATA = 1007
    POLICY = 1008
    TOO_BIG = 1009
    INTERNAL = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013


class Outcome(StrEnum):
    """What became of a session, as metrics and logs name it."""

    FINISHED = "finished"
    IDLE = "idle"
    CLIENT_GONE = "client_gone"
    BAD_REQUEST = "bad_request"
    BAD_AUDIO = "bad_audio"
    TOO_BIG = "too_big"
    FULL = "full"
    UNAVAILABLE = "unavailable"
    RESTARTING = "restarting"
    FAILED = "failed"


@dataclass(frozen=True)
class Closing:
    """The end of a session: an `error` message where there is something to say, then the close.

    `code` is None where the client is gone and nothing can be sent to it.
    """

    outcome: Outcome
    code: CloseCode | None
    reason: str = ""
    error: str | None = None


FINISHED = Closing(Outcome.FINISHED, CloseCode.NORMAL)
CLIENT_GONE = Closing(Outcome.CLIENT_GONE, None)
GATEWAY_RESTARTS = Closing(
    Outcome.RESTARTING,
    CloseCode.SERVICE_RESTART,
    "restarting",
    "The gateway is restarting. Connect again.",
)


def close_for_bad_request(error: str) -> Closing:
    """The query string or a text message is not understood."""
    return Closing(Outcome.BAD_REQUEST, CloseCode.POLICY, "bad request", error)


def close_for_too_big(received_bytes: int, limit_bytes: int) -> Closing:
    """One WebSocket message is larger than the limit."""
    error = (
        f"A message of {received_bytes:,} bytes is larger than the limit of {limit_bytes:,}. "
        "Send the audio in smaller messages; pieces of 80 ms are usual."
    )
    return Closing(Outcome.TOO_BIG, CloseCode.TOO_BIG, "message too big", error)


def close_for_gateway_fault() -> Closing:
    """The gateway itself has a fault; its log says which."""
    return Closing(
        Outcome.FAILED, CloseCode.INTERNAL, "internal error", "The gateway failed. Connect again."
    )


def close_for_upstream_error(error: SttError, *, admitted: bool) -> Closing:
    """The one table from what the service said to what the client is told.

    `admitted` says whether the session had its `ready`: before it, a request that the service
    refuses is a bad query string; after it, bad audio.
    """
    text = str(error)
    match error:
        case Idle():
            # Everything heard was transcribed and delivered: nothing went wrong.
            return Closing(Outcome.IDLE, CloseCode.NORMAL, "idle")
        case MessageTooLarge():
            return Closing(Outcome.TOO_BIG, CloseCode.TOO_BIG, "message too big", text)
        case InvalidRequest() if admitted:
            return Closing(Outcome.BAD_AUDIO, CloseCode.BAD_DATA, "bad audio", text)
        case InvalidRequest():
            return close_for_bad_request(text)
        case ServerFull():
            return Closing(Outcome.FULL, CloseCode.TRY_AGAIN_LATER, "server full", text)
        case ServerUnavailable(retry_after_s=float()):
            # The service itself says that it leaves; a broken connection gives no such advice.
            return Closing(
                Outcome.RESTARTING, CloseCode.SERVICE_RESTART, "service restarting", text
            )
        case ServerUnavailable():
            return Closing(
                Outcome.UNAVAILABLE, CloseCode.TRY_AGAIN_LATER, "service unavailable", text
            )
        case Unauthenticated() | NoSuchService():
            # The client's own key was checked before it came here: this one is the gateway's.
            error_text = f"The gateway cannot use the service behind it. {text}"
            return Closing(Outcome.FAILED, CloseCode.INTERNAL, "gateway set up wrongly", error_text)
        case _:
            return Closing(Outcome.FAILED, CloseCode.INTERNAL, "service failed", text)
