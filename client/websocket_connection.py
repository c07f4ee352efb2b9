"""One session over the documented WebSocket protocol: messages ↔ typed events."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from client.events import Final, Flushed, Pause, Ping, Ready, ServerEvent, Timing, Token, Word
from client.options import Encoding, FloatArray, SessionOptions
from stt.endpoint import Credentials
from stt.errors import (
    Idle,
    InvalidRequest,
    MessageTooLarge,
    NoSuchService,
    ServerFailed,
    ServerFull,
    ServerUnavailable,
    ServerUnreachable,
    SttError,
    Unauthenticated,
)

STREAM_PATH = "/v1/stream"
# A gateway that was scaled to zero answers the handshake only once it runs.
OPEN_TIMEOUT_S = 60.0
CLOSE_TIMEOUT_S = 2.0

Json = dict[str, Any]


@dataclass(frozen=True)
class WebSocketAddress:
    """Where the gateway is and how to be let in."""

    url: str
    credentials: Credentials | None = None
    root_certificates: str | None = None
    """PEM text; None means the system's own trust."""

    @classmethod
    def parse(cls, url: str, credentials: Credentials | None = None) -> WebSocketAddress:
        """Read `ws://host:port`, `wss://host` with or without the path.

        Raises ValueError, with a sentence for the person who typed the address.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.query:
            raise ValueError(
                f"The WebSocket address {url!r} is not understood. "
                f"Write it like ws://127.0.0.1:8000{STREAM_PATH} or wss://example.modal.run."
            )
        path = parts.path if parts.path not in ("", "/") else STREAM_PATH
        return cls(f"{parts.scheme}://{parts.netloc}{path}", credentials)

    @property
    def headers(self) -> dict[str, str]:
        """The documented credential headers."""
        if self.credentials is None:
            return {}
        return {"Modal-Key": self.credentials.key, "Modal-Secret": self.credentials.secret}

    @property
    def is_loopback(self) -> bool:
        """Whether the service runs on this machine."""
        return urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1")


class WebSocketConnection:
    """A WebSocket to `/v1/stream`."""

    def __init__(self, socket: ClientConnection, encoding: Encoding) -> None:
        self._socket = socket
        self._encoding = encoding

    @classmethod
    async def open(cls, address: WebSocketAddress, options: SessionOptions) -> WebSocketConnection:
        """Shake hands. Raises the `SttError` that says why it failed."""
        url = f"{address.url}?{urlencode(query_from(options))}"
        context = None
        if address.root_certificates is not None and url.startswith("wss:"):
            context = ssl.create_default_context(cadata=address.root_certificates)
        try:
            socket = await connect(
                url,
                additional_headers=address.headers,
                ssl=context,
                # Samples do not compress; events are small.
                compression=None,
                proxy=None if address.is_loopback else True,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                max_size=None,
            )
        except InvalidStatus as error:
            raise error_from_http(error.response.status_code) from error
        except (InvalidHandshake, EOFError) as error:
            raise ServerUnavailable(f"The WebSocket handshake failed: {error}") from error
        except TimeoutError as error:
            raise ServerUnavailable(
                f"The service did not answer within {OPEN_TIMEOUT_S:g} s; it may be starting."
            ) from error
        except OSError as error:
            raise ServerUnreachable(f"Nothing answers at {address.url}: {error}") from error
        return cls(socket, options.encoding)

    async def send_audio(self, pcm: FloatArray) -> None:
        """Send mono samples at 24 kHz; waits while the server is busy."""
        await self._send(self._encoding.encode(pcm))

    async def send_flush(self, flush_id: str) -> None:
        """Ask for every word of the audio so far."""
        await self._send(json.dumps({"type": "flush", "flush_id": flush_id}))

    async def send_end(self) -> None:
        """Say that no more audio comes: finish my words."""
        await self._send(json.dumps({"type": "end"}))

    async def events(self) -> AsyncIterator[ServerEvent]:
        """Typed events until the session ends; raises the `SttError` that says why it failed."""
        complaint = ""
        finished = False
        try:
            while True:
                message = cast("Json", json.loads(await self._socket.recv()))
                if message["type"] == "error":
                    complaint = str(message["message"])
                elif (event := event_from(message)) is not None:
                    yield event
                    finished = isinstance(event, Final)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else None
            reason = closed.rcvd.reason if closed.rcvd else ""
            if not (finished and code == 1000 and reason != "idle"):
                raise error_from_close(code, reason, complaint) from closed

    async def aclose(self) -> None:
        """Close the socket."""
        await self._socket.close()

    async def _send(self, message: bytes | str) -> None:
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            # The reading side learns the close code and explains it.
            raise ServerUnavailable("The connection broke.") from error


def query_from(options: SessionOptions) -> list[tuple[str, str]]:
    """The query string that asks for everything that a replay needs to know."""
    query = [("events", "ready,word,flushed,final"), ("timing", "1")]
    if options.encoding is not Encoding.PCM_F32LE:
        query.append(("encoding", options.encoding.value))
    numbers = {
        "vad_threshold": options.vad.threshold,
        "pause_seconds": options.vad.pause_s,
        "idle_timeout": options.idle_timeout_s,
        "stall_timeout": options.stall_timeout_s,
    }
    query += [(name, f"{value:.9f}") for name, value in numbers.items() if value is not None]
    return query


def event_from(message: Json) -> ServerEvent | None:
    """The typed event of a message; None for one that this client does not know."""
    timing = Timing(
        processed_s=message.get("processed", 0.0),
        lag_s=message.get("lag", 0.0),
        step_time=message.get("step_time"),
    )
    match message["type"]:
        case "ready":
            return Ready(
                message["session_id"],
                message["delay"],
                message["frame_samples"],
                message["sample_rate"],
                timing,
            )
        case "token":
            return Token(message["text"], message.get("start", 0.0), timing)
        case "word":
            return _word(message, timing)
        case "vad_end":
            return Pause(message.get("offset", 0.0), timing)
        case "ping":
            return Ping(timing)
        case "flushed":
            return Flushed(message["flush_id"], timing)
        case "final":
            words = tuple(_word(word, timing) for word in message["words"])
            return Final(message["transcript"], words, message["audio_duration"], timing)
        case _:
            return None


def _word(message: Json, timing: Timing) -> Word:
    return Word(message["text"], message["start"], message["end"], message["confidence"], timing)


def error_from_http(status: int) -> SttError:
    """Why a handshake was refused."""
    match status:
        case 401 | 403:
            return Unauthenticated(
                f"The service refused the credentials (HTTP {status}). Export MODAL_KEY and "
                "MODAL_SECRET from a proxy auth token of the workspace's settings."
            )
        case 429:
            return ServerFull("Every place at the service is taken (HTTP 429).")
        case 404:
            return NoSuchService("There is no such service at this address (HTTP 404).")
        case _ if status >= 500:
            return ServerUnavailable(f"The service is starting or restarting (HTTP {status}).")
        case _:
            return InvalidRequest(f"The service refused the connection (HTTP {status}).")


def error_from_close(code: int | None, reason: str, complaint: str) -> SttError:
    """Why a session ended; `complaint` is the `error` message, None is a code that never came."""
    text = complaint or reason or f"The connection broke (close code {code})."
    match code:
        case 1000:
            return Idle("The service ended the session because no audio came.")
        case 1007 | 1008:
            return InvalidRequest(text)
        case 1009:
            return MessageTooLarge(text)
        case 1011:
            return ServerFailed(text)
        case 1013 if reason == "server full":
            return ServerFull(text)
        case _:
            return ServerUnavailable(text)
