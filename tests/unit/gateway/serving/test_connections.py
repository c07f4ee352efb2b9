import resource
import socket
from collections.abc import Iterator

import pytest

from gateway.serving.connections import (
    HANDSHAKE_S,
    HTTP_S,
    ConnectionTable,
    fit_to_descriptors,
)
from stt_service.process.descriptors import OWN


class Doors:
    """A table of connections, each the end of a socket pair, and a clock that the test moves."""

    def __init__(self, limit: int) -> None:
        self.now_s = 0.0
        self.table = ConnectionTable(limit, lambda: self.now_s)
        self._pairs: list[tuple[socket.socket, socket.socket]] = []

    def connect(self):
        self._pairs.append(socket.socketpair())
        return self.table.add(self._pairs[-1][0])

    def has_ended(self, number: int) -> bool:
        peer = self._pairs[number][1]
        peer.setblocking(False)
        try:
            return peer.recv(1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        for pair in self._pairs:
            for each in pair:
                each.close()


@pytest.fixture
def doors() -> Iterator[Doors]:
    doors = Doors(3)
    yield doors
    doors.close()


def test_the_oldest_silent_connection_makes_room(doors: Doors):
    websocket = doors.connect()
    assert websocket is not None
    websocket.note_websocket()
    for _ in range(4):
        doors.now_s += 1.0
        assert doors.connect() is not None
        assert len(doors.table) <= 3
    assert [doors.has_ended(number) for number in range(5)] == [False, True, True, False, False]


def test_websockets_are_not_ended_for_a_newcomer(doors: Doors):
    for _ in range(3):
        connection = doors.connect()
        assert connection is not None
        connection.note_websocket()
    assert doors.connect() is None
    assert len(doors.table) == 3


def test_deadlines(doors: Doors):
    silent, asked, websocket = doors.connect(), doors.connect(), doors.connect()
    assert silent is not None and asked is not None and websocket is not None
    websocket.note_websocket()
    doors.now_s = 1.0
    asked.note_request()
    doors.now_s = HANDSHAKE_S + 0.1
    assert doors.table.end_overdue() == 1
    assert doors.has_ended(0)
    doors.now_s = HTTP_S + 1.1
    assert doors.table.end_overdue() == 1
    assert doors.has_ended(1)
    doors.now_s = 1e6
    assert doors.table.end_overdue() == 0
    assert len(doors.table) == 1
    websocket.note_closed()
    websocket.note_closed()
    assert doors.table.gone.is_set()


@pytest.mark.parametrize("descriptors", [256, 4096])
def test_the_limit_lies_below_the_descriptors(monkeypatch: pytest.MonkeyPatch, descriptors: int):
    limits = (descriptors, descriptors)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: None)
    fitting = fit_to_descriptors(100_000)
    assert descriptors - OWN - 2 <= fitting + fitting // 50 <= descriptors - OWN
    assert fit_to_descriptors(100) == 100
