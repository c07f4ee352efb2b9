"""grpc.health.v1.Health: whether the server and its service are serving.

grpc_health's own servicer holds a lock while it writes to a watcher, so that one that takes nothing
would hold up every other, and a drain.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stt_service.writing import Context, Writer

Response = health_pb2.HealthCheckResponse
# The types of grpc_health are older than its messages.
_messages: Any = health_pb2
REASON_KEY = "stt-reason"
"""Trailing metadata of a Check that is not SERVING: the reason that a call would be refused for."""
WARMING_UP = "WARMING_UP"
Status = health_pb2.HealthCheckResponse.ServingStatus.ValueType


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers for the service names that it is made with, all of which have one status."""

    def __init__(self, names: Iterable[str], writer: Writer) -> None:
        self._names = frozenset(names)
        self._writer = writer
        self._status: Status = Response.NOT_SERVING
        self._reason = ""
        self._changed = asyncio.Event()

    def set(self, status: Status, reason: str = "") -> None:
        """Tell everyone who watches, each as fast as it listens; `reason` only who asks."""
        self._status, self._reason = status, reason
        self._changed.set()
        self._changed = asyncio.Event()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        if self._reason:
            context.set_trailing_metadata(((REASON_KEY, self._reason),))
        return Response(status=self._status)

    async def List(self, request: object, context: Context) -> object:
        statuses = {name: Response(status=self._status) for name in self._names}
        return _messages.HealthListResponse(statuses=statuses)

    async def Watch(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        known = request.service in self._names
        told: Status | None = None
        while True:
            changed = self._changed
            status = self._status if known else Response.SERVICE_UNKNOWN
            if status != told:
                await self._writer.write(context, Response(status=status))
                told = status
            # The status may have changed during the write; then the event is set already.
            await changed.wait()
