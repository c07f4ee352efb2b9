"""The `google.rpc` details of a gRPC status."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import (  # pyright: ignore[reportMissingTypeStubs]
    error_details_pb2,
    status_pb2,
)

STATUS_DETAILS_KEY = "grpc-status-details-bin"
ERROR_DOMAIN = "stt.v1"

_KNOWN = (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.BadRequest)


@dataclass(frozen=True)
class StatusDetails:
    """What the service adds to code and message; empty if the status is not from the service."""

    reason: str | None = None
    """The name of an `ErrorReason` of the contract, without ERROR_REASON_."""
    retry_after_s: float | None = None
    wrong_fields: tuple[str, ...] = ()
    """`field: what is wrong with it`"""


def read_details(error: grpc.aio.AioRpcError) -> StatusDetails:
    """The details of a status; empty if it has none or they are corrupt."""
    reason: str | None = None
    retry_after_s: float | None = None
    wrong_fields: list[str] = []
    try:
        for detail in _unpack(metadata_value(error.trailing_metadata(), STATUS_DETAILS_KEY)):
            match detail:
                case error_details_pb2.ErrorInfo() if detail.domain == ERROR_DOMAIN:
                    reason = detail.reason
                case error_details_pb2.RetryInfo():
                    retry_after_s = detail.retry_delay.ToTimedelta().total_seconds()
                case error_details_pb2.BadRequest():
                    wrong_fields += [f"{v.field}: {v.description}" for v in detail.field_violations]
                case _:
                    pass
    except DecodeError:
        return StatusDetails()
    return StatusDetails(reason, retry_after_s, tuple(wrong_fields))


def metadata_value(metadata: Any, wanted: str) -> str | bytes | None:
    """The first value of that key."""
    for key, value in metadata or ():
        if key == wanted:
            return value
    return None


def _unpack(raw: str | bytes | None) -> Iterator[Any]:
    if not isinstance(raw, bytes):
        return
    for packed in status_pb2.Status.FromString(raw).details:
        for known in _KNOWN:
            detail = known()
            if packed.Unpack(detail):
                yield detail
