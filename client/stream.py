"""What a developer imports.

    async with SttClient("127.0.0.1:50051") as client:
        final = await client.transcribe_file("speech.wav")
        print(final.transcript)

        async for event in client.stream(MicrophoneSource()):
            match event:
                case Token(text): print(text, end="", flush=True)
                case Pause(): print()

`SttClient` speaks gRPC, `WebSocketSttClient` the documented WebSocket protocol; both do the same.
Every failure is an `SttError` (stt.errors) or an `AudioError` (client.audio).
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path
from typing import Self

import grpc

from client.audio import FileSource
from client.events import Final
from client.grpc_connection import GrpcConnection
from client.options import FloatArray, ReconnectPolicy, SessionOptions
from client.session import Connection, OnWait, TranscriptStream
from client.websocket_connection import WebSocketAddress, WebSocketConnection
from stt.channel import Credentials, Endpoint, Patience, open_channel, wait_until_serving
from stt.errors import error_from_rpc
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
        """Close what all streams share; streams that still run fail."""

    async def _connect(self, options: SessionOptions) -> Connection:
        raise NotImplementedError

    def stream(
        self, source: AsyncIterable[FloatArray], options: SessionOptions | None = None
    ) -> TranscriptStream:
        """Transcribe blocks of mono float32 at 24 kHz while they come; iterate the result.

        The last event is `Final`. If the connection breaks it is made again and the audio that
        was not settled is sent again. If the source fails, what it gave is transcribed to the end
        and its error is raised after `Final`.
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

    `address` is `host:port`, `http://…` or, with TLS, `https://…`. `on_wait` is told while the
    service starts or a broken connection is made again. One client may run many streams.
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
        self._open_channel: grpc.aio.Channel | None = None

    async def aclose(self) -> None:
        """Close the channel; streams that still run fail."""
        if self._open_channel is not None:
            await self._open_channel.close()
            self._open_channel = None

    async def fetch_server_info(self) -> stt_pb2.GetServerInfoResponse:
        """What is served: model, delay, slots."""
        await self._wait_until_serving()
        stub = stt_pb2_grpc.SpeechToTextServiceStub(self._channel)
        try:
            return await stub.GetServerInfo(
                stt_pb2.GetServerInfoRequest(), metadata=self._endpoint.metadata
            )
        except grpc.aio.AioRpcError as rpc_error:
            raise error_from_rpc(rpc_error) from rpc_error

    @property
    def _channel(self) -> grpc.aio.Channel:
        # Made with the first call, because a channel belongs to the loop that made it.
        if self._open_channel is None:
            self._open_channel = open_channel(self._endpoint)
        return self._open_channel

    async def _connect(self, options: SessionOptions) -> Connection:
        await self._wait_until_serving()
        return await GrpcConnection.open(self._channel, self._endpoint, options)

    async def _wait_until_serving(self) -> None:
        await wait_until_serving(
            self._channel, self._endpoint, patience=self._patience, on_wait=self._on_wait
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

    async def _connect(self, options: SessionOptions) -> Connection:
        return await WebSocketConnection.open(self._address, options)
