"""The short way for live audio, held against wsproto."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

from gateway.serving.live_message import MessageBorders, read_whole_message

PAYLOADS = st.integers(0, 70_000).flatmap(
    lambda size: st.binary(min_size=min(size, 200), max_size=min(size, 200)).map(
        lambda start: start + bytes(max(0, size - len(start)))
    )
)
DATA = st.tuples(
    st.sampled_from([Opcode.BINARY, Opcode.TEXT]), st.lists(PAYLOADS, min_size=1, max_size=3)
)


def write_frame(opcode: Opcode, payload: bytes, *, is_last: bool = True) -> bytes:
    """A client's frame, as wsproto writes it."""
    client = FrameProtocol(client=True, extensions=[])
    return client._serialize_frame(opcode, payload, is_last)


def write_message(opcode: Opcode, parts: list[bytes], *, ping: bool) -> bytes:
    """A message in as many frames as there are parts, with a ping in between."""
    frames = [
        write_frame(
            opcode if place == 0 else Opcode.CONTINUATION, part, is_last=place == len(parts) - 1
        )
        for place, part in enumerate(parts)
    ]
    if ping and len(parts) > 1:
        frames.insert(1, write_frame(Opcode.PING, b"?"))
    return b"".join(frames)


@given(PAYLOADS)
@example(bytes(127))
@example(bytes(126))
def test_a_whole_message_is_what_wsproto_makes_of_it(payload: bytes) -> None:
    frame = write_frame(Opcode.BINARY, payload)
    expected = payload if len(payload) < 65_536 else None
    assert read_whole_message(frame) == expected


@given(st.binary(max_size=300), st.data())
def test_what_is_not_exactly_one_is_left_to_wsproto(payload: bytes, data: st.DataObject) -> None:
    frame = write_frame(Opcode.BINARY, payload)
    cut = data.draw(st.integers(0, len(frame) - 1))
    assert read_whole_message(frame[:cut]) is None
    assert read_whole_message(frame + b"\x82") is None
    assert read_whole_message(write_frame(Opcode.TEXT, payload)) is None
    assert read_whole_message(write_frame(Opcode.BINARY, payload, is_last=False)) is None
    for reserved in (0x40, 0x20, 0x10):
        assert read_whole_message(bytes([frame[0] | reserved]) + frame[1:]) is None


def test_lengths_that_are_longer_than_need_be_are_left_to_wsproto() -> None:
    assert read_whole_message(b"\x82\xfe\x00\x04" + bytes(8)) is None
    assert read_whole_message(b"\x82\xff" + bytes(7) + b"\x04" + bytes(8)) is None
    assert read_whole_message(b"\x82\x04" + bytes(4)) is None, "not masked"


@given(
    st.lists(st.tuples(DATA, st.booleans()), max_size=4),
    st.lists(st.integers(0, 2**20), max_size=8),
)
def test_borders_are_where_wsproto_has_read_whole_messages(messages, cuts) -> None:
    stream = b"".join(write_message(*message, ping=ping) for message, ping in messages)
    ends, position = {0}, 0
    for message, ping in messages:
        position += len(write_message(*message, ping=ping))
        ends.add(position)
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts), *ends})
    borders = MessageBorders()
    for start, end in pairwise(edges):
        borders.follow(stream[start:end])
        assert borders.is_at_border == (end in ends)
