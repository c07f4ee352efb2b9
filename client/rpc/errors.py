"""Why a call failed, as one exception tree, and the one mapping from gRPC statuses to it.

    SttError
    ├── InvalidRequest         the request or its audio is wrong; sending it again gives the same
    │   ├── InvalidAudio       the audio is not what the request says it is
    │   └── MessageTooLarge    one message exceeds the server's limit
    ├── SlowConsumer           this side read no events for too long
    ├── Unauthenticated        no or wrong key (Modal-Key and Modal-Secret)
    ├── NoSuchService          something answers, there or on the way, but not this service
    │   └── UntrustedServer    it cannot prove by its certificate that it is this host
    ├── ServerFull             no room for another session; try again after `retry_after_s`
    ├── ServerUnavailable      starting, draining or restarting; try again after `retry_after_s`
    │   ├── ServerDraining     shutting down: it admits nobody new
    │   └── ServerUnreachable  nothing answers at this address
    ├── Idle                   no audio for the idle timeout; everything heard was transcribed
    ├── CallCancelled          this side ended the call
    └── ServerFailed           the server's own fault

Everything derives from `SttError`, whose message says what to do. The class follows from the
`reason` that the service or the gateway gives; only statuses without one, which gRPC core or an
HTTP edge makes, are classified by their codes and by gRPC core's messages.
"""

from __future__ import annotations

import grpc

from client.rpc import grpc_core_messages
from client.rpc.details import metadata_value, read_details
from client.rpc.reasons import Reason


class SttError(Exception):
    """A call to the service failed; the message says why and what helps.

    `reason` is the name that the service or the gateway gives the failure (`Reason`); None if
    neither gave one.
    """

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class InvalidRequest(SttError):
    """The request or its audio is wrong; sending it again gives the same."""


class InvalidAudio(InvalidRequest):
    """The audio is not what the request says it is: not finite, far too loud, not decodable."""


class MessageTooLarge(InvalidRequest):
    """One message exceeds the server's limit; send the audio in smaller pieces."""


class SlowConsumer(SttError):
    """The server ended the session because this side read no events for too long."""


class Unauthenticated(SttError):
    """No or wrong credentials."""


class NoSuchService(SttError):
    """Something answers, there or on the way (a proxy), but not the speech-to-text service."""


class UntrustedServer(NoSuchService):
    """The server's certificate is not accepted: unknown authority, other host name, expired."""


class _TryLater(SttError):
    def __init__(
        self, message: str, retry_after_s: float | None = None, *, reason: str | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class ServerFull(_TryLater):
    """Every slot is taken, or all that this key may have, or the model is behind the sessions that
    are open. `retry_after_s` is the server's advice in seconds, or None."""


class ServerUnavailable(_TryLater):
    """The server is starting, draining or restarting. `retry_after_s` is its advice, or None."""


class ServerDraining(ServerUnavailable):
    """The server, or the gateway, is shutting down and admits nobody new."""


class ServerUnreachable(ServerUnavailable):
    """Nothing answers at this address: no such host, connection refused, silence."""


class Idle(SttError):
    """The server ended the session because no audio came for the idle timeout."""


class CallCancelled(SttError):
    """This side ended the call."""


class ServerFailed(SttError):
    """The server failed through no fault of the caller."""


_WHAT_TO_EXPORT = (
    "Export MODAL_KEY and MODAL_SECRET from a proxy auth token of the workspace's settings, or a "
    "key of a server of your own."
)

CLASSES: dict[str, type[SttError]] = {
    Reason.INVALID_REQUEST: InvalidRequest,
    Reason.INVALID_AUDIO: InvalidAudio,
    Reason.MESSAGE_TOO_LARGE: MessageTooLarge,
    Reason.NO_FREE_SLOT: ServerFull,
    Reason.OVERLOADED: ServerFull,
    Reason.TOO_MANY_SESSIONS: ServerFull,
    Reason.UNAUTHENTICATED: Unauthenticated,
    Reason.WARMING_UP: ServerUnavailable,
    Reason.DRAINING: ServerDraining,
    Reason.IDLE_TIMEOUT: Idle,
    Reason.SLOW_CONSUMER: SlowConsumer,
    Reason.ENGINE_DIED: ServerFailed,
    Reason.INTERNAL: ServerFailed,
    Reason.UPSTREAM_FULL: ServerFull,
    Reason.UPSTREAM_UNAVAILABLE: ServerUnavailable,
    Reason.UPSTREAM_REFUSED: ServerFailed,
    Reason.UPSTREAM_FAILED: ServerFailed,
}


def error_from_reason(
    reason: str | None, text: str, retry_after_s: float | None = None
) -> SttError | None:
    """The `SttError` for a reason; None without one, and for an unknown one."""
    kind = CLASSES.get(reason) if reason is not None else None
    if kind is None:
        return None
    # A gateway passes on what it has been told, in these words already.
    if kind is Unauthenticated and _WHAT_TO_EXPORT not in text:
        text = _refused_credentials(text)
    if issubclass(kind, _TryLater):
        return kind(text, retry_after_s, reason=reason)
    return kind(text, reason=reason)


def error_from_rpc(error: grpc.aio.AioRpcError) -> SttError:
    """The `SttError` that a gRPC status means, its `google.rpc` details included."""
    code, text, details = error.code(), error.details() or "", read_details(error)
    # The service's message often is the description already.
    text = "; ".join([text, *(field for field in details.wrong_fields if text not in field)])
    if known := error_from_reason(details.reason, text, details.retry_after_s):
        return known
    if details.reason is None and (made_up := _error_from_core(code, text)):
        return made_up
    error_by_code = _error_from_code(code, text, details.retry_after_s)
    # A reason that only a newer service gives.
    error_by_code.reason = details.reason
    return error_by_code


def _error_from_code(code: grpc.StatusCode, text: str, retry_after_s: float | None) -> SttError:
    match code:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Unauthenticated(_refused_credentials(text))
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequest(text)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ServerFull(text, retry_after_s)
        case grpc.StatusCode.UNAVAILABLE:
            text = text or "The connection to the service broke."
            return ServerUnavailable(text, retry_after_s)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerUnavailable(f"The service did not answer in time ({text}).")
        case grpc.StatusCode.CANCELLED:
            return CallCancelled(text or "The call was cancelled.")
        case grpc.StatusCode.UNIMPLEMENTED | grpc.StatusCode.NOT_FOUND:
            return NoSuchService(
                f"The server at this address is not a speech-to-text service ({text}). "
                "Check the address."
            )
        case _:
            return ServerFailed(f"The server failed: {text or code.name}")


def _error_from_core(code: grpc.StatusCode, text: str) -> SttError | None:
    """The error for a status that gRPC core made; None for any other."""
    if http := grpc_core_messages.HTTP_STATUS.search(text):
        return error_from_http(int(http.group(1)))
    if grpc_core_messages.MESSAGE_TOO_LARGE.search(text):
        return MessageTooLarge(f"{text} Send the audio in smaller messages.")
    if grpc_core_messages.STREAM_RESET.search(text):
        return ServerUnavailable(f"The connection to the service broke: {text}")
    if code is grpc.StatusCode.UNAVAILABLE and grpc_core_messages.NO_CONNECTION.search(text):
        return ServerUnreachable(f"Nothing answers at this address: {text}")
    return None


def error_from_http(status: int, *, hint: str = "", retry_after_s: float | None = None) -> SttError:
    """Why an HTTP server refused, over either protocol; `hint` is what it said, or its target.

    A 403 is not about credentials: Modal's edge answers 401 to wrong ones, our gateway 403 to a
    page of another origin, and other servers 403 to a path that is not theirs.
    """
    said = f"HTTP {status}{': ' if hint else ''}{hint}"
    match status:
        case 401:
            return Unauthenticated(_refused_credentials(said))
        case 429:
            return ServerFull(f"Every place at the service is taken ({said}).", retry_after_s)
        case 408 | 425:
            return ServerUnavailable(f"The service did not answer in time ({said}).", retry_after_s)
        case 500 | 501:
            return ServerFailed(f"The server failed ({said}).")
        case _ if status > 501:
            return ServerUnavailable(
                f"The service is starting or restarting ({said}).", retry_after_s
            )
        case _ if 300 <= status < 400:
            return NoSuchService(f"The server at this address sends callers elsewhere ({said}).")
        case _:
            return NoSuchService(f"There is no such service at this address ({said}).")


def status_is_from_the_service(error: grpc.aio.AioRpcError) -> bool:
    """Whether the status was surely written by the service or named by an HTTP edge.

    The status of a bidirectional call that an edge refused is a race inside grpc.aio: it may say
    INTERNAL or RST_STREAM for a plain 401. Such a status carries neither the service's metadata
    nor the edge's status code.
    """
    text = error.details() or ""
    if grpc_core_messages.HTTP_STATUS.search(text):
        return True
    if metadata_value(error.initial_metadata(), "session-id") is not None:
        return True
    if read_details(error).reason is not None:
        return True
    return not grpc_core_messages.STREAM_RESET.search(text) and error.code() in {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }


def _refused_credentials(reason: str) -> str:
    return f"The service refused the credentials ({reason}). {_WHAT_TO_EXPORT}"
