"""What our own server offers an application beyond ASGI, by the name of the scope's extension.

Behind another ASGI server, as on Modal, the application has none of it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

STREAM = "stt.stream"
"""Of a WebSocket: `keep_whole` and `admit` (`gateway.serving.websocket`)."""
REQUEST = "stt.request"
"""Of an HTTP request: `note_progress` (`gateway.serving.http`)."""


def tell_server(
    scope: MutableMapping[str, Any], extension: str, what: str, *arguments: int
) -> None:
    """Call a function of an extension, if the server has it."""
    offered: dict[str, Any] = scope.get("extensions") or {}
    if extension in offered:
        offered[extension][what](*arguments)
