import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.whole import GUARANTEED_BYTES, Assembly, WholeMessages

KIB = 1024
LIMIT_BYTES = 512 * KIB
LARGEST_BYTES = 1024 * KIB


class Socket:
    """An assembly, and whether its message was given up."""

    def __init__(self, shared: WholeMessages) -> None:
        self.given_up = 0
        self.assembly = Assembly(shared, LARGEST_BYTES, self._note)

    def _note(self) -> None:
        self.given_up += 1


def test_pieces_become_one_message():
    socket = Socket(WholeMessages(LIMIT_BYTES))
    for piece in ('{"a"', ":", "1}"):
        assert socket.assembly.add(piece)
    assert socket.assembly.finish() == '{"a":1}'
    for piece in (b"ab", bytearray(b"cd"), b""):
        assert socket.assembly.add(piece)
    assert socket.assembly.finish() == b"abcd"
    assert socket.assembly.add(b"")
    assert socket.assembly.finish() == b""


def test_frames_without_content_hold_nothing():
    socket = Socket(WholeMessages(LIMIT_BYTES))
    tracemalloc.start()
    try:
        for _ in range(100_000):
            assert socket.assembly.add(b"")
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 64 * KIB
    assert socket.assembly.finish() == b""


def test_a_message_has_a_largest_size():
    socket = Socket(WholeMessages(float("inf")))
    assert socket.assembly.add(bytes(LARGEST_BYTES))
    assert not socket.assembly.add(b"x")
    socket = Socket(WholeMessages(float("inf")))
    assert not socket.assembly.add("\N{SNOWMAN}" * (LARGEST_BYTES // 2)), "it is large in memory"


def test_the_largest_unfinished_message_makes_room():
    shared = WholeMessages(LIMIT_BYTES)
    small, large = Socket(shared), Socket(shared)
    assert large.assembly.add(bytes(GUARANTEED_BYTES + 400 * KIB))
    assert small.assembly.add(bytes(GUARANTEED_BYTES + 200 * KIB))
    assert (large.given_up, small.given_up) == (1, 0)
    assert shared.held_bytes == 200 * KIB
    assert large.assembly.finish() is None
    assert small.assembly.finish() == bytes(GUARANTEED_BYTES + 200 * KIB)


def test_what_everybody_is_guaranteed_is_given_up_for_nobody():
    shared = WholeMessages(0)
    sockets = [Socket(shared) for _ in range(10)]
    for socket in sockets:
        assert socket.assembly.add(bytes(GUARANTEED_BYTES))
    assert sum(socket.given_up for socket in sockets) == 0
    assert shared.held_bytes == 0


def test_a_finished_message_counts_until_it_was_used():
    shared = WholeMessages(LIMIT_BYTES)
    first, second = Socket(shared), Socket(shared)
    first.assembly.add(bytes(GUARANTEED_BYTES + LIMIT_BYTES))
    message = first.assembly.finish()
    assert message is not None
    second.assembly.add(bytes(GUARANTEED_BYTES + 1))
    assert (first.given_up, second.given_up) == (0, 1)
    first.assembly.release(message)
    assert second.assembly.add(bytes(GUARANTEED_BYTES + 1))
    assert second.given_up == 1


actions = st.tuples(st.integers(0, 3), st.sampled_from(["add", "finish", "use", "close"]))


@given(st.lists(st.tuples(actions, st.integers(0, 300 * KIB)), max_size=40))
def test_the_count_is_that_of_what_is_held_and_never_more_than_the_limit(steps):
    shared = WholeMessages(LIMIT_BYTES)
    sockets = [Socket(shared) for _ in range(4)]
    finished: list[list[bytes]] = [[] for _ in sockets]
    for (number, action), size in steps:
        assembly = sockets[number].assembly
        match action:
            case "add":
                assembly.add(bytes(size))
            case "finish":
                message = assembly.finish()
                finished[number] += [message] if isinstance(message, bytes) else []
            case "use" if finished[number]:
                assembly.release(finished[number].pop())
            case "close":
                assembly.close()
                finished[number].clear()
            case _:
                pass
        held = [
            max(0, one.assembly.unfinished_bytes + sum(map(len, done)) - GUARANTEED_BYTES)
            for one, done in zip(sockets, finished, strict=True)
        ]
        assert shared.held_bytes == sum(held)
        done_bytes = sum(max(0, sum(map(len, done)) - GUARANTEED_BYTES) for done in finished)
        assert shared.held_bytes <= max(LIMIT_BYTES, done_bytes + len(sockets) * GUARANTEED_BYTES)
