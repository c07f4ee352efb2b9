"""Why a call failed, as one exception tree, and the one mapping from gRPC statuses to it.

    SttError
    ├── InvalidRequest         the request or its audio is wrong; sending it again gives the same
    │   └── MessageTooLarge    one message exceeds the server's limit
    ├── Unauthenticated        no or wrong Modal-Key and Modal-Secret
    ├── NoSuchService          something answers, there or on the way, but not this service
    │   └── UntrustedServer    it cannot prove by its certificate that it is this host
    ├── ServerFull             every slot is taken; try again after `retry_after_s`
    ├── ServerUnavailable      starting, draining or restarting; try again after `retry_after_s`
    │   └── ServerUnreachable  nothing answers at this address
    ├── Idle                   no audio for the idle timeout; everything heard was transcribed
    ├── CallCancelled          this side ended the call
    └── ServerFailed           the server's own fault

Everything derives from `SttError`, whose text tells a stranger what to do.
"""

import re
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import (  # pyright: ignore[reportMissingTypeStubs]
    error_details_pb2,
    status_pb2,
)

STATUS_DETAILS_KEY = "grpc-status-details-bin"

# gRPC core's words for an answer that came from an HTTP edge and not from a gRPC server.
_HTTP_STATUS = re.compile(r"Received http2 header with status: (\d{3})")
_NO_CONNECTION = re.compile(
    r"failed to connect|connection refused|network is unreachable|no route to host|handshak|"
    r"dns (?:query|resolution)|errors resolving|hostname lookup",
    re.IGNORECASE,
)


class SttError(Exception):
    """A call to the service failed; the text says why and what helps."""


class InvalidRequest(SttError):
    """The request or its audio is wrong; sending it again gives the same."""


class MessageTooLarge(InvalidRequest):
    """One message exceeds the server's limit; send the audio in smaller pieces."""


class Unauthenticated(SttError):
    """No or wrong credentials."""


class NoSuchService(SttError):
    """Something answers, there or on the way (a proxy), but not the speech-to-text service."""


class UntrustedServer(NoSuchService):
    """The server's certificate is not accepted: unknown authority, other host name, expired."""


class _TryLater(SttError):
    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ServerFull(_TryLater):
    """Every slot is taken. `retry_after_s` is the server's advice in seconds, or None."""


class ServerUnavailable(_TryLater):
    """The server is starting, draining or restarting. `retry_after_s` is its advice, or None."""


class ServerUnreachable(ServerUnavailable):
    """Nothing answers at this address: no such host, connection refused, silence."""


class Idle(SttError):
    """The server ended the session because no audio came for the idle timeout."""


class CallCancelled(SttError):
    """This side ended the call."""


class ServerFailed(SttError):
    """The server failed through no fault of the caller."""


def error_from_rpc(error: grpc.aio.AioRpcError) -> SttError:
    """The `SttError` that a gRPC status means, its `google.rpc` details included."""
    code, text = error.code(), error.details() or ""
    details = _rich_details(error)
    retry_after_s = _retry_after_s(details)
    if http := _HTTP_STATUS.search(text):
        return error_from_http(int(http.group(1)), retry_after_s=retry_after_s)
    match code:
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Unauthenticated(_refused_credentials(text))
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidRequest(_with_field_violations(text, details))
        case grpc.StatusCode.RESOURCE_EXHAUSTED if retry_after_s is None:
            return MessageTooLarge(f"{text} Send the audio in smaller messages.")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return ServerFull(text, retry_after_s)
        case grpc.StatusCode.UNAVAILABLE:
            return _unavailable(text, retry_after_s)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Idle(text)
        case grpc.StatusCode.CANCELLED:
            return CallCancelled(text or "The call was cancelled.")
        case grpc.StatusCode.UNIMPLEMENTED | grpc.StatusCode.NOT_FOUND:
            return NoSuchService(
                f"The server at this address is not a speech-to-text service ({text}). "
                "Check the address."
            )
        case _:
            return ServerFailed(f"The server failed: {text or code.name}")


def error_from_http(status: int, *, hint: str = "", retry_after_s: float | None = None) -> SttError:
    """Why an HTTP server refused, over either protocol; `hint` is what it said, or where it leads.

    A 403 is no matter of credentials: Modal's edge answers 401 to wrong ones, our gateway 403 to a
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
    if _HTTP_STATUS.search(error.details() or ""):
        return True
    if _metadata_value(error.initial_metadata(), "session-id") is not None:
        return True
    if _metadata_value(error.trailing_metadata(), STATUS_DETAILS_KEY) is not None:
        return True
    return error.code() in {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }


def _unavailable(text: str, retry_after_s: float | None) -> ServerUnavailable:
    if _NO_CONNECTION.search(text):
        return ServerUnreachable(f"Nothing answers at this address: {text}", retry_after_s)
    return ServerUnavailable(text or "The connection to the service broke.", retry_after_s)


def _refused_credentials(reason: str) -> str:
    return (
        f"The service refused the credentials ({reason}). Export MODAL_KEY and MODAL_SECRET from "
        "a proxy auth token of the workspace's settings."
    )


def _with_field_violations(text: str, details: list[Any]) -> str:
    for detail in details:
        if isinstance(detail, error_details_pb2.BadRequest):
            fields = [f"{v.field}: {v.description}" for v in detail.field_violations]
            # The server's message often is the description already.
            return "; ".join([text, *(field for field in fields if text not in field)])
    return text


def _retry_after_s(details: list[Any]) -> float | None:
    for detail in details:
        if isinstance(detail, error_details_pb2.RetryInfo):
            return detail.retry_delay.ToTimedelta().total_seconds()
    return None


def _rich_details(error: grpc.aio.AioRpcError) -> list[Any]:
    """The known `google.rpc` details of a status; none where an edge garbled them."""
    raw = _metadata_value(error.trailing_metadata(), STATUS_DETAILS_KEY)
    if not isinstance(raw, bytes):
        return []
    found: list[Any] = []
    try:
        for packed in status_pb2.Status.FromString(raw).details:
            for known in (error_details_pb2.RetryInfo, error_details_pb2.BadRequest):
                detail = known()
                if packed.Unpack(detail):
                    found.append(detail)
    except DecodeError:
        return []
    return found


def _metadata_value(metadata: Any, wanted: str) -> str | bytes | None:
    for key, value in metadata or ():
        if key == wanted:
            return value
    return None
