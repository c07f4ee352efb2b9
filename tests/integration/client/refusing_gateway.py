"""A WebSocket server that refuses every handshake with one HTTP status."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http import HTTPStatus

from websockets.sync.server import ServerConnection, serve


@contextlib.contextmanager
def run_refusing_gateway(status: int) -> Iterator[str]:
    """Run it on loopback; yields its address."""

    def refuse(connection: ServerConnection, _: object) -> object:
        return connection.respond(HTTPStatus(status), "no")

    with serve(lambda _: None, "127.0.0.1", 0, process_request=refuse) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()
