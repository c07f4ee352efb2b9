"""What stands between strangers and every method of the server: bounds, and one way to refuse."""

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from stt_service.authorization import ALWAYS_OPEN, Authorization
from stt_service.engine.allowance import allowing
from stt_service.engine.errors import EngineError, InternalError, InvalidOptions
from stt_service.process.logs import OccasionalLog, get_logger
from stt_service.translation import TooManyCalls, Unauthenticated
from stt_service.writing import Context, Writer, abort

FIRST_MESSAGE_TIMEOUT_S = 10.0
# Each holds a few kilobytes, whatever it is for.
MAX_CALLS = 10_000
# Apart from those, since health asks nobody for a key. A check takes milliseconds.
MAX_HEALTH_CALLS = 1_000

# grpc's types say nothing of what a handler is made of.
Handler = Any
Details = grpc.HandlerCallDetails
END: object = grpc.aio.EOF  # pyright: ignore

log = get_logger(__name__)


class CallGuard(grpc.aio.ServerInterceptor):
    """Serves every method of the server in the same way, whoever wrote it.

    The caller has a key, where keys are asked for; the first message comes within a bound; what
    cannot be parsed is the caller's fault; every write has the writer's bound; and whatever a
    method raises becomes a status of ours, without the text of an exception that was not made for
    callers.
    """

    def __init__(
        self,
        authorization: Authorization,
        writer: Writer,
        first_message_timeouts_s: Mapping[str, float],
    ) -> None:
        self._authorization = authorization
        self._writer = writer
        self._first_message_timeouts_s = first_message_timeouts_s
        self._calls = 0
        # In the order in which they came.
        self._health_calls: dict[asyncio.Timeout, None] = {}
        self._occasional = OccasionalLog(log)

    async def intercept_service(
        self, continuation: Callable[[Details], Awaitable[Handler]], handler_call_details: Details
    ) -> Handler:
        """The method's handler, guarded; None for a method that does not exist."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method: str = getattr(handler_call_details, "method", "")
        # Of this kind whatever the method's own is: so it reads and writes message by message, and
        # a call that ends without a message can be answered.
        guarded: Handler = grpc.stream_stream_rpc_method_handler(  # pyright: ignore
            partial(self._serve, handler, method),
            request_deserializer=None,
            response_serializer=handler.response_serializer,
        )
        return guarded

    async def _serve(self, handler: Handler, method: str, _: object, context: Context) -> None:
        is_health = method.startswith(ALWAYS_OPEN)
        try:
            async with self._health_place() if is_health else self._place():
                metadata: Any = context.invocation_metadata() or ()
                with allowing(self._authorization.admit(method, metadata)):
                    await self._call(handler, method, context)
        except grpc.aio.BaseError:
            # The call has been aborted, or the caller has left: nobody is there to be told.
            raise
        except Exception as error:
            await self._refuse(method, context, error)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncGenerator[None]:
        """Count a call while the block runs. Raises TooManyCalls."""
        if self._calls >= MAX_CALLS:
            raise TooManyCalls
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextlib.asynccontextmanager
    async def _health_place(self) -> AsyncGenerator[None]:
        """The same for a call of health. Here the newcomer is always let in, and TooManyCalls is
        raised in the block that has run for longest: who fills all places keeps no check out."""
        place = asyncio.timeout(None)
        try:
            async with place:
                self._health_calls[place] = None
                try:
                    if len(self._health_calls) > MAX_HEALTH_CALLS:
                        oldest = next(iter(self._health_calls))
                        del self._health_calls[oldest]
                        oldest.reschedule(asyncio.get_running_loop().time())
                    yield
                finally:
                    self._health_calls.pop(place, None)
        except TimeoutError:
            if not place.expired():
                raise
            raise TooManyCalls from None

    async def _call(self, handler: Handler, method: str, context: Context) -> None:
        timeout_s = self._first_message_timeouts_s.get(method, FIRST_MESSAGE_TIMEOUT_S)
        requests = self._read_requests(handler, method, context, timeout_s)
        async with contextlib.aclosing(requests):
            if handler.request_streaming:
                await self._run(handler.stream_stream, requests, context)
                return
            request = await anext(requests, None)
            if request is None:
                raise InvalidOptions("request", "the call carries no message")
            if handler.response_streaming:
                await self._run(handler.unary_stream, request, context)
            else:
                await self._writer.write(context, await handler.unary_unary(request, context))

    async def _run(self, behaviour: Any, request: object, context: Context) -> None:
        """Run a method that writes, or that generates its responses."""
        if not inspect.isasyncgenfunction(behaviour):
            await behaviour(request, context)
            return
        async with contextlib.aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                await self._writer.write(context, response)

    async def _read_requests(
        self, handler: Handler, method: str, context: Context, first_message_timeout_s: float
    ) -> AsyncGenerator[Any]:
        """The messages of a call, until the caller half-closes.

        Raises InvalidOptions for one that cannot be parsed, and if the first does not come in time.
        """
        try:
            async with asyncio.timeout(first_message_timeout_s):
                data = await context.read()
        except TimeoutError:
            raise InvalidOptions(
                "request", f"no message came within {first_message_timeout_s:g} s"
            ) from None
        while data is not END:
            try:
                request = handler.request_deserializer(data)
            except DecodeError:
                self._occasional.warning("garbage received", method=method, peer=context.peer())
                # Its text is for programmers: it names classes, and none of the caller's fields.
                raise InvalidOptions(
                    "request", "the message cannot be parsed as this method's request"
                ) from None
            yield request
            data = await context.read()

    async def _refuse(self, method: str, context: Context, error: Exception) -> None:
        if isinstance(error, TooManyCalls):
            self._occasional.warning("too many calls at once", peer=context.peer())
        elif isinstance(error, Unauthenticated):
            self._occasional.warning("no valid key", method=method, peer=context.peer())
        elif not isinstance(error, EngineError):
            # Its text is for the log; a caller could not use it.
            log.error("call failed", method=method, exc_info=error)
            error = InternalError()
        await abort(context, error)
