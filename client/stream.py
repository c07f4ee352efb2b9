"""What a developer imports.

    async with SttClient("127.0.0.1:50051") as client:
        final = await client.transcribe_file("speech.wav")
        print(final.transcript)

        microphone = choose_device(list_input_devices(), None)
        async for event in client.stream(MicrophoneSource(microphone)):
            match event:
                case Token(text): print(text, end="", flush=True)
                case Pause(): print()

`SttClient` speaks gRPC, `WebSocketSttClient` the documented WebSocket protocol; both do the same.
Every failure is an `SttError` (client.rpc.errors) or an `AudioError` (client.audio); invalid
arguments and environment variables raise ValueError when the client is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Self

import grpc

from client.audio import FileSource
from client.grpc_connection import GrpcConnection
from client.loop_channels import LoopChannels
from client.options import FloatArray, ReconnectPolicy, SessionOptions
from client.rpc.channel import Credentials, Endpoint, find_route, wait_until_serving
from client.rpc.errors import CallCancelled, error_from_rpc
from client.rpc.events import Final
from client.rpc.retry import OnWait, Patience
from client.session import Connection, TranscriptStream
from client.websocket_connection import WebSocketConnection
from client.websocket_handshake import WebSocketAddress
from stt.v1 import stt_pb2, stt_pb2_grpc

__all__ = [
    "Credentials",
    "Endpoint",
    "Patience",
    "ReconnectPolicy",
    "SessionOptions",
    "SttClient",
    "WebSocketAddress",
    "WebSocketSttClient",
]


class _Client:
    """What the two protocols have in common."""

    def __init__(
        self, patience: Patience | None, reconnect: ReconnectPolicy | None, on_wait: OnWait | None
    ) -> None:
        self._patience = patience or Patience()
        self._reconnect = reconnect or ReconnectPolicy()
        self._on_wait = on_wait

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close what all streams share, and open nothing new. May be called twice."""
        raise NotImplementedError

    async def _connect(self, options: SessionOptions) -> Connection:
        raise NotImplementedError

    def stream(
        self, source: AsyncIterable[FloatArray], options: SessionOptions | None = None
    ) -> TranscriptStream:
        """Transcribe blocks of mono float32 at 24 kHz as they come; iterate the result.

        The last event is `Final`. If the connection breaks it is made again, and the audio
        whose words may not have come yet is sent again (docs/replay.md). If the source fails,
        what it yielded is transcribed to the end and its error is raised after `Final`.
        """
        options = options or SessionOptions()
        return TranscriptStream(
            source,
            lambda: self._connect(options),
            options,
            self._reconnect,
            self._patience,
            self._on_wait,
        )

    async def transcribe(
        self, source: AsyncIterable[FloatArray], options: SessionOptions | None = None
    ) -> Final:
        """Transcribe a source to its end."""
        async with self.stream(source, options) as events:
            return [event async for event in events if isinstance(event, Final)][-1]

    async def transcribe_file(
        self, path: str | Path, options: SessionOptions | None = None
    ) -> Final:
        """Transcribe a recording as fast as the server goes, however long it is."""
        return await self.transcribe(FileSource(path), options)


class SttClient(_Client):
    """The service over gRPC.

    `address` is `host:port`, `http://…` or, with TLS, `https://…`. `on_wait` is called while the
    service starts or a broken connection is made again. One client may run many streams; up to
    fifty share a connection.
    """

    def __init__(
        self,
        address: str | Endpoint,
        credentials: Credentials | None = None,
        *,
        patience: Patience | None = None,
        reconnect: ReconnectPolicy | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        super().__init__(patience, reconnect, on_wait)
        self._endpoint = (
            address if isinstance(address, Endpoint) else Endpoint.parse(address, credentials)
        )
        # Invalid certificates and proxy variables are reported here, not by the first call.
        find_route(self._endpoint)
        self._channels = LoopChannels(self._endpoint)

    async def aclose(self) -> None:
        """Close the channels; streams that still run fail. May be called twice."""
        await self._channels.aclose()

    async def fetch_server_info(self) -> stt_pb2.GetServerInfoResponse:
        """What is served: model, delay, slots."""
        with (await self._channels.get_pool()).share() as channel:
            await self._wait_until_serving(channel)
            stub = stt_pb2_grpc.SpeechToTextServiceStub(channel)
            try:
                return await stub.GetServerInfo(
                    stt_pb2.GetServerInfoRequest(), metadata=self._endpoint.metadata
                )
            except grpc.aio.AioRpcError as rpc_error:
                raise error_from_rpc(rpc_error) from rpc_error

    async def _connect(self, options: SessionOptions) -> Connection:
        pool = await self._channels.get_pool()
        with contextlib.ExitStack() as held:
            channel = held.enter_context(pool.share())
            await self._wait_until_serving(channel)
            connection = await GrpcConnection.open(channel, self._endpoint, options)
            connection.on_close(held.pop_all().close)
            return connection

    async def _wait_until_serving(self, channel: grpc.aio.Channel) -> None:
        await wait_until_serving(
            channel, self._endpoint, patience=self._patience, on_wait=self._on_wait
        )


class WebSocketSttClient(_Client):
    """The service over the documented WebSocket protocol.

    `url` is `ws://host:port/v1/stream` or, with TLS, `wss://…`; the path may be left out.
    """

    def __init__(
        self,
        url: str | WebSocketAddress,
        credentials: Credentials | None = None,
        *,
        patience: Patience | None = None,
        reconnect: ReconnectPolicy | None = None,
        on_wait: OnWait | None = None,
    ) -> None:
        super().__init__(patience, reconnect, on_wait)
        self._address = (
            url if isinstance(url, WebSocketAddress) else WebSocketAddress.parse(url, credentials)
        )
        # Invalid certificates and proxy variables are reported here, not by the first call.
        self._address.find_route()
        self._is_closed = False

    async def aclose(self) -> None:
        """Open nothing new; streams that still run go on, each on its own socket."""
        self._is_closed = True

    async def _connect(self, options: SessionOptions) -> Connection:
        if self._is_closed:
            raise CallCancelled("This client was closed. Make another one.")
        return await WebSocketConnection.open(self._address, options, self._on_wait)
