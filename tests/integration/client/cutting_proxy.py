"""A TCP proxy on loopback that cuts its connections, or stalls, as a bad network does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct


class CuttingProxy:
    """Forwards to `upstream` ("host:port") while its `async with` is open."""

    def __init__(self, upstream: str) -> None:
        host, port = upstream.rsplit(":", 1)
        self._upstream = (host, int(port))
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_refusing = False
        """Whether new connections are cut at once."""
        self.cuts = 0
        self.sent_bytes = 0
        """What was forwarded to the upstream, on all connections."""
        self._flowing = asyncio.Event()
        self._flowing.set()

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.resume()
        self._abort_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> bool:
        """Reset every open connection; False if there was none."""
        was_open = bool(self._writers)
        self._abort_all()
        self.cuts += was_open
        return was_open

    def stall(self) -> None:
        """Forward nothing in either direction; connections stay open and are still taken."""
        self._flowing.clear()

    def resume(self) -> None:
        """Forward again, first what was sent meanwhile."""
        self._flowing.set()

    def _abort_all(self) -> None:
        for writer in list(self._writers):
            sock: socket.socket = writer.get_extra_info("socket")
            # Linger 0 makes close send RST: nothing that is under way arrives.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        if self.is_refusing:
            self._abort_all()
            return
        with contextlib.suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection(*self._upstream)
            self._writers.add(up_writer)
            await asyncio.gather(
                self._pump(reader, up_writer, upstream=True), self._pump(up_reader, writer)
            )
            self._writers.discard(up_writer)
        self._writers.discard(writer)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: bool = False
    ) -> None:
        try:
            while data := await reader.read(16_384):
                await self._flowing.wait()
                writer.write(data)
                self.sent_bytes += len(data) if upstream else 0
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
