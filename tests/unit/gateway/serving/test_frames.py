"""Some messages are taken past wsproto: what comes of a stream must not depend on its cuts."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto import events as wire_events

from gateway.serving.frames import FrameReader
from gateway.serving.pacing import SharedPace
from gateway.serving.received import AsgiEvent
from gateway.serving.whole import WholeMessages

LARGEST_BYTES = 512
MESSAGES = st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=80)), max_size=6)


class Peer:
    """A peer that reads what it is sent."""

    can_write = True

    def write(self, event: wire_events.Event) -> None:
        """Nothing is written here but pongs."""

    def answer_close(self, event: wire_events.CloseConnection) -> None:
        """Nobody closes here."""


class Transport:
    """Whether the socket is read."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.reading.set()

    def is_closing(self) -> bool:
        """It never is."""
        return False

    def pause_reading(self) -> None:
        """Nothing is to be fed."""
        self.reading.clear()

    def resume_reading(self) -> None:
        """More may be fed."""
        self.reading.set()


def open_pair() -> tuple[WSConnection, WSConnection]:
    """A client and a server after their handshake."""
    client, server = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    server.receive_data(client.send(wire_events.Request(host="a", target="/")))
    list(server.events())
    client.receive_data(server.send(wire_events.AcceptConnection()))
    list(client.events())
    return client, server


def write(client: WSConnection, messages: list[str | bytes]) -> list[bytes]:
    """Each message in one frame."""
    return [
        client.send(
            wire_events.TextMessage(message)
            if isinstance(message, str)
            else wire_events.BytesMessage(message)
        )
        for message in messages
    ]


async def read(server: WSConnection, pieces: list[bytes], *, whole: bool) -> list[AsgiEvent]:
    """What an application is given of a stream that comes in these pieces."""
    # No frame waits for its turn here.
    reader = FrameReader(server, Peer(), SharedPace(1e9), WholeMessages(1e9), LARGEST_BYTES)
    if whole:
        reader.keep_whole(LARGEST_BYTES)
    reader.admit()
    transport: Any = Transport()
    reader.start(transport, b"")
    for piece in pieces:
        await transport.reading.wait()
        reader.feed(piece)
    await transport.reading.wait()
    reader.received.add({"type": "the end"})
    taken: list[AsgiEvent] = []
    while (event := await reader.take())["type"] != "the end":
        taken.append(event)
    return taken


def join_audio(events: list[AsgiEvent]) -> list[AsgiEvent]:
    """Binary messages of our own protocol are one stream."""
    joined: list[AsgiEvent] = []
    for event in events:
        if joined and "bytes" in event and "bytes" in joined[-1]:
            joined[-1] = {**event, "bytes": joined[-1]["bytes"] + event["bytes"]}
        else:
            joined.append(event)
    return joined


@pytest.mark.parametrize("whole", [True, False])
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 2**20), max_size=6))
def test_it_does_not_matter_where_reads_end(
    whole: bool, messages: list[str | bytes], cuts: list[int]
) -> None:
    (client, alone), (other, cut) = open_pair(), open_pair()
    frames = write(client, messages)
    stream = b"".join(write(other, messages))
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in cuts)})
    pieces = [stream[start:end] for start, end in pairwise(edges)]
    expected = asyncio.run(read(alone, frames, whole=whole))
    given_ = asyncio.run(read(cut, pieces, whole=whole))
    if not whole:
        expected, given_ = join_audio(expected), join_audio(given_)
    assert given_ == expected


def test_whole_messages_are_passed_on_as_they_came() -> None:
    client, server = open_pair()
    messages: list[str | bytes] = [b"one", b"", "two", b"three", bytes(LARGEST_BYTES)]
    events = asyncio.run(read(server, write(client, messages), whole=True))
    assert [event.get("bytes", event.get("text")) for event in events] == messages


@pytest.mark.parametrize("whole", [True, False])
def test_a_message_is_as_large_as_its_limit_says(whole: bool) -> None:
    client, server = open_pair()
    frames = write(client, [b"before", bytes(LARGEST_BYTES + 1), b"behind"])
    events = asyncio.run(read(server, frames, whole=whole))
    assert events[0]["bytes"] == b"before"
    assert events[1:] == [{"type": "websocket.receive", "violation": (1009, "")}]
