"""The protocols that the gateway speaks. A new one is a file with a `Door`, and a line here."""

from __future__ import annotations

from gateway.protocols import documented, gradium, moshi_server, openai_realtime
from gateway.protocols.codec import Door

DOORS: tuple[Door, ...] = (
    documented.DOOR,
    moshi_server.DOOR,
    gradium.DOOR,
    openai_realtime.DOOR,
)


def find_door(path: str) -> Door | None:
    """The protocol that is spoken at a path, be there a slash at its end or not."""
    return next((door for door in DOORS if path.rstrip("/") in door.paths), None)


def name_paths() -> str:
    """The paths of all protocols, as part of a sentence."""
    *first, last = (door.paths[0] for door in DOORS)
    return f"{', '.join(first)} and {last}"
