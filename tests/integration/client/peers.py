"""What may answer at an address: a TLS front, a proxy, and servers that are not ours."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import trustme

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listen(handler: Handler, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free loopback port while the block runs; yields the port."""
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            try:
                await handler(reader, writer)
            finally:
                writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        # One with TLS would wait for the other side's answer to its close.
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def pipe(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str, head: bytes = b""
) -> None:
    """Carry bytes both ways until one side closes, after `head`, which was read already."""
    host, port = upstream.rsplit(":", 1)
    up_reader, up_writer = await asyncio.open_connection(host, int(port))
    up_writer.write(head)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    try:
        await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer))
    finally:
        up_writer.close()


class Authority:
    """A company's own authority, and certificates of many kinds."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    def context(
        self, *names: str, is_expired: bool = False, wants_client: bool = False
    ) -> ssl.SSLContext:
        """A server's context with a certificate for these names."""
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        certificate = self._ca.issue_cert(
            *(names or ("localhost", "127.0.0.1")),
            not_before=now - 9 * day,
            not_after=now - day if is_expired else now + day,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["h2", "http/1.1"])
        certificate.configure_cert(context)
        if wants_client:
            self._ca.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@contextlib.asynccontextmanager
async def tls_front(upstream: str, context: ssl.SSLContext) -> AsyncIterator[int]:
    """TLS in front of HOST:PORT, for HTTP/2 and HTTP/1.1 alike; yields its port."""
    async with listen(lambda reader, writer: pipe(reader, writer, upstream), context) as port:
        yield port


class ConnectProxy:
    """An HTTP proxy that only knows CONNECT. `hosts` says where each HOST:PORT really is."""

    def __init__(
        self,
        hosts: dict[str, str],
        *,
        user: str | None = None,
        refusal: str | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = hosts
        self._wanted = None if user is None else base64.b64encode(user.encode()).decode()
        self._refusal = refusal
        self._context = context
        self.asked_for: list[str] = []

    async def __aenter__(self) -> ConnectProxy:
        self._listening = listen(self._serve, self._context)
        self.port = await self._listening.__aenter__()
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listening.__aexit__(None, None, None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, host, _ = head[0].split(" ")
        headers = dict(line.lower().split(":", 1) for line in head[1:] if line)
        sent = next((line for line in head if line.lower().startswith("proxy-auth")), "")
        assert method == "CONNECT" and "host" in headers
        self.asked_for.append(host)
        status = self._refusal or ("200 OK" if host in self._hosts else "502 Bad Gateway")
        if self._wanted is not None and sent.split(" ")[-1] != self._wanted:
            status = "407 Proxy Authentication Required"
        length = "" if status.startswith("200") else "Content-Length: 0\r\n"
        writer.write(f"HTTP/1.1 {status}\r\n{length}\r\n".encode())
        if status.startswith("200"):
            await pipe(reader, writer, self._hosts[host])


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take a connection and whatever comes, and never answer."""
    while await reader.read(65536):
        pass


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Close every connection at once."""


async def greet_like_ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Some other protocol, whose server speaks first."""
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    await say_nothing(reader, writer)


async def refuse_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A TLS server with HTTP/1.1 only, as nginx can be: it refuses a client that only offers h2."""
    await reader.read(1024)
    # A record of 2 bytes: a fatal alert, no_application_protocol.
    writer.write(bytes([21, 3, 3, 0, 2, 2, 120]))
    await writer.drain()


def http_server(status: str, *headers: str, body: str = "<html>hello</html>") -> Handler:
    """An HTTP/1.1 server with one answer to everything."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", body]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    return answer
