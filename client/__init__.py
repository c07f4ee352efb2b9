"""The client library: everything that a program needs, under one name.

    from client import FileSource, SttClient

A name is imported when it is first used: a program that uses only `Credentials` loads no audio
library, and only `MicrophoneSource` needs PortAudio.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from client.audio import FileSource
    from client.blocking import BlockingSttClient
    from client.microphone import InputDevice, MicrophoneSource, choose_device, list_input_devices
    from client.options import Encoding, ReconnectPolicy, SessionOptions, VadSettings
    from client.pacing import ArraySource
    from client.rpc.endpoint import Credentials, Endpoint, Tls
    from client.rpc.errors import (
        CallCancelled,
        Idle,
        InvalidAudio,
        InvalidRequest,
        MessageTooLarge,
        NoSuchService,
        ServerDraining,
        ServerFailed,
        ServerFull,
        ServerUnavailable,
        ServerUnreachable,
        SlowConsumer,
        SttError,
        Unauthenticated,
        UntrustedServer,
    )
    from client.rpc.events import (
        Event,
        Final,
        Flushed,
        Pause,
        Ping,
        Ready,
        Reconnected,
        Timing,
        Token,
        Word,
    )
    from client.rpc.retry import Patience, Waiting
    from client.samples import AudioError
    from client.session import TranscriptStream
    from client.stream import SttClient, WebSocketSttClient
    from client.websocket_handshake import WebSocketAddress

_HOMES = {
    "client.audio": ["FileSource"],
    "client.blocking": ["BlockingSttClient"],
    "client.rpc.events": [
        *("Event", "Final", "Flushed", "Pause", "Ping", "Ready", "Reconnected", "Timing"),
        *("Token", "Word"),
    ],
    "client.microphone": [
        *("InputDevice", "MicrophoneSource", "choose_device", "list_input_devices"),
    ],
    "client.options": ["Encoding", "ReconnectPolicy", "SessionOptions", "VadSettings"],
    "client.pacing": ["ArraySource"],
    "client.rpc.retry": ["Patience", "Waiting"],
    "client.rpc.endpoint": ["Credentials", "Endpoint", "Tls"],
    "client.rpc.errors": [
        *("CallCancelled", "Idle", "InvalidAudio", "InvalidRequest", "MessageTooLarge"),
        *("NoSuchService", "ServerDraining", "ServerFailed", "ServerFull", "ServerUnavailable"),
        *("ServerUnreachable", "SlowConsumer", "SttError", "Unauthenticated", "UntrustedServer"),
    ],
    "client.samples": ["AudioError"],
    "client.session": ["TranscriptStream"],
    "client.stream": ["SttClient", "WebSocketSttClient"],
    "client.websocket_handshake": ["WebSocketAddress"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ArraySource",
    "AudioError",
    "BlockingSttClient",
    "CallCancelled",
    "Credentials",
    "Encoding",
    "Endpoint",
    "Event",
    "FileSource",
    "Final",
    "Flushed",
    "Idle",
    "InputDevice",
    "InvalidAudio",
    "InvalidRequest",
    "MessageTooLarge",
    "MicrophoneSource",
    "NoSuchService",
    "Patience",
    "Pause",
    "Ping",
    "Ready",
    "ReconnectPolicy",
    "Reconnected",
    "ServerDraining",
    "ServerFailed",
    "ServerFull",
    "ServerUnavailable",
    "ServerUnreachable",
    "SessionOptions",
    "SlowConsumer",
    "SttClient",
    "SttError",
    "Timing",
    "Tls",
    "Token",
    "TranscriptStream",
    "Unauthenticated",
    "UntrustedServer",
    "VadSettings",
    "Waiting",
    "WebSocketAddress",
    "WebSocketSttClient",
    "Word",
    "choose_device",
    "list_input_devices",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'client' has no attribute {name!r}")
    # Here and not above: the commands import this package before they handle Ctrl-C.
    import importlib

    value: object = getattr(importlib.import_module(_HOME_OF[name]), name)
    # Found at once the next time.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
