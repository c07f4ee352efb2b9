"""The names of what can go wrong, as they travel over both protocols."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a call failed, by name; a newer service may give others."""

    # `ErrorReason` of proto/stt/v1/stt.proto, which says when each is given.
    INVALID_REQUEST = "INVALID_REQUEST"
    INVALID_AUDIO = "INVALID_AUDIO"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    NO_FREE_SLOT = "NO_FREE_SLOT"
    WARMING_UP = "WARMING_UP"
    DRAINING = "DRAINING"
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    ENGINE_DIED = "ENGINE_DIED"
    INTERNAL = "INTERNAL"
    OVERLOADED = "OVERLOADED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    TOO_MANY_SESSIONS = "TOO_MANY_SESSIONS"
    # The gateway's own, where the service behind it gave none; docs/websocket.md says when.
    UPSTREAM_FULL = "UPSTREAM_FULL"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_REFUSED = "UPSTREAM_REFUSED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
