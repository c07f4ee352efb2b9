"""A plain HTTP/2 edge on loopback: answers every request as a proxy in front of gRPC would."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import h2.config
import h2.connection
import h2.errors
import h2.events
from google.protobuf.message import Message

from client.rpc.endpoint import Credentials, Endpoint

# More than a config, less than a piece of audio.
BROKEN_OFF_BYTES = 1_024

Answer = Callable[[h2.connection.H2Connection, int], None]

STREAM_METHOD = "/stt.v1.SpeechToTextService/StreamingTranscribe"


def http_refusal(status: int) -> Answer:
    """Answer with an HTML page, as an edge without gRPC does."""

    def answer(connection: h2.connection.H2Connection, stream_id: int) -> None:
        headers = [(":status", str(status)), ("content-type", "text/html")]
        connection.send_headers(stream_id, headers)
        connection.send_data(stream_id, b"<html>no</html>", end_stream=True)

    return answer


def grpc_message(message: Message) -> Answer:
    """Answer one gRPC message, and no status yet."""

    def answer(connection: h2.connection.H2Connection, stream_id: int) -> None:
        payload = message.SerializeToString()
        connection.send_headers(
            stream_id, [(":status", "200"), ("content-type", "application/grpc")]
        )
        connection.send_data(stream_id, struct.pack(">BI", 0, len(payload)) + payload)

    return answer


def grpc_ok(message: Message) -> Answer:
    """Answer one gRPC message with status OK."""

    def answer(connection: h2.connection.H2Connection, stream_id: int) -> None:
        grpc_message(message)(connection, stream_id)
        connection.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)

    return answer


class HttpEdge:
    """Serves while its `async with` is open. `answer` None leaves requests without an answer."""

    def __init__(self, http_status: int) -> None:
        self.answer: Answer | None = http_refusal(http_status)
        self.reset_streams = False
        self.stream_answer: Answer | None = None
        """How a streaming call is answered; it is reset when its first audio comes."""
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def __aenter__(self) -> HttpEdge:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = Endpoint.parse(f"127.0.0.1:{port}", Credentials("wk-1", "wrong"))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._connections:
            writer.close()
        await asyncio.gather(*self._connections.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[writer] = task
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        try:
            while True:
                writer.write(connection.data_to_send())
                await writer.drain()
                data = await reader.read(65536)
                if not data:
                    break
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self._reply(connection, event)
                    elif isinstance(event, h2.events.DataReceived):
                        self._read(connection, event)
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _reply(
        self, connection: h2.connection.H2Connection, event: h2.events.RequestReceived
    ) -> None:
        path = dict(event.headers)[b":path"].decode()
        if self.reset_streams and path == STREAM_METHOD:
            connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif self.stream_answer is not None and path == STREAM_METHOD:
            self.stream_answer(connection, event.stream_id)
        elif self.answer is not None:
            self.answer(connection, event.stream_id)

    def _read(self, connection: h2.connection.H2Connection, event: h2.events.DataReceived) -> None:
        if self.stream_answer is not None and event.flow_controlled_length > BROKEN_OFF_BYTES:
            connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
