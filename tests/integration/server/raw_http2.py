"""A caller that speaks HTTP/2 frame by frame, and so can do what no gRPC client does."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

STREAMING = "/stt.v1.SpeechToTextService/StreamingTranscribe"
TRANSCRIBE = "/stt.v1.SpeechToTextService/Transcribe"
RIVA_STREAMING = "/nvidia.riva.asr.RivaSpeechRecognition/StreamingRecognize"
RIVA_RECOGNIZE = "/nvidia.riva.asr.RivaSpeechRecognition/Recognize"
GET_INFO = "/stt.v1.SpeechToTextService/GetServerInfo"
WATCH = "/grpc.health.v1.Health/Watch"
CHECK = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

Headers = dict[str, str]


def frame(message: bytes, *, compressed: bool = False) -> bytes:
    """A gRPC message as it stands in an HTTP/2 stream."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


class RawConnection:
    """One connection. Calls go by their HTTP/2 stream's number."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        # Lets out what is no valid header too.
        config = h2.config.H2Configuration(
            validate_outbound_headers=False, header_encoding=None, normalize_outbound_headers=False
        )
        self._h2 = h2.connection.H2Connection(config)
        self._answers: dict[int, asyncio.Future[Headers]] = defaultdict(
            asyncio.get_running_loop().create_future
        )
        self._headers: dict[int, Headers] = defaultdict(dict)
        self.received: dict[int, bytearray] = defaultdict(bytearray)
        self.settings: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.create_task(self._receive())
        """Ends when the server has closed the connection."""

    def start(self, window_bytes: int) -> None:
        """Send the preface and the settings; with a window of 0 the server may send no message."""
        self._h2.initiate_connection()
        if window_bytes != 65_535:
            self._h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window_bytes})
        self._flush()

    @property
    def max_streams(self) -> int:
        """How many calls the server takes at once on this connection."""
        return self._h2.remote_settings.max_concurrent_streams

    def call(self, path: str | bytes, headers: Mapping[str, str | bytes] | None = None) -> int:
        """Open a call; its number."""
        stream = self._h2.get_next_available_stream_id()
        fields: list[tuple[str | bytes, str | bytes]] = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            *(headers or {}).items(),
        ]
        self._h2.send_headers(stream, fields)
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send bytes of a call's body, as far as the server's window goes."""
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()

    def send_bytes(self, data: bytes) -> None:
        """Send bytes that need not be HTTP/2."""
        self._writer.write(data)

    async def answer(self, stream: int) -> Headers:
        """The headers and trailers of a call, when it has ended.

        Without `grpc-status` but with `reset` if the stream was reset, or the connection closed.
        """
        return await self._answers[stream]

    async def close(self) -> None:
        """Leave without a word."""
        self.closed.cancel()
        self._writer.transport.abort()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await self.closed

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())

    async def _receive(self) -> None:
        try:
            while data := await self._reader.read(65_536):
                for event in self._h2.receive_data(data):
                    self._handle(event)
                self._flush()
        except (ConnectionError, ProtocolError):
            pass
        finally:
            for stream, answer in self._answers.items():
                if not answer.done():
                    answer.set_result({**self._headers[stream], "reset": "connection closed"})

    def _handle(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged() if not self.settings.done():
                self.settings.set_result(None)
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                fields = {name.decode(): value.decode() for name, value in event.headers or ()}
                self._headers[event.stream_id or 0] |= fields
            case h2.events.DataReceived():
                self.received[event.stream_id or 0] += event.data or b""
            case h2.events.StreamEnded():
                self._end(event.stream_id or 0)
            case h2.events.StreamReset():
                self._headers[event.stream_id or 0]["reset"] = str(event.error_code)
                self._end(event.stream_id or 0)
            case _:
                pass

    def _end(self, stream: int) -> None:
        if not self._answers[stream].done():
            self._answers[stream].set_result(self._headers[stream])


@contextlib.asynccontextmanager
async def connect(address: str, *, window_bytes: int = 65_535) -> AsyncIterator[RawConnection]:
    """Connect to HOST:PORT and exchange settings; close at the end of the block."""
    host, _, port = address.rpartition(":")
    connection = RawConnection(*await asyncio.open_connection(host, int(port)))
    try:
        connection.start(window_bytes)
        waiting = (connection.settings, connection.closed)
        await asyncio.wait(waiting, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        yield connection
    finally:
        await connection.close()
