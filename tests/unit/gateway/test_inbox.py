import asyncio
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from gateway.inbox import CHUNK_BYTES, COMMAND_BYTES, Inbox
from gateway.protocols.codec import Command, End
from stt.v1 import stt_pb2

items = st.lists(
    st.binary(max_size=400).map(lambda seed: seed * 300)
    | st.builds(lambda flush_id: stt_pb2.Flush(flush_id=flush_id), st.text(max_size=5))
    | st.just(End())
)


def joined(sequence: list[bytes | Command]) -> list[bytes | Command]:
    """The same sequence with adjacent audio joined."""
    result: list[bytes | Command] = []
    for item in sequence:
        if item == b"":
            continue
        if isinstance(item, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += item
        else:
            result.append(item)
    return result


@given(items, st.integers(1, 200_000))
def test_items_come_out_once_in_order_and_in_chunks(sent: list[bytes | Command], limit_bytes: int):
    async def carry() -> list[bytes | Command]:
        inbox = Inbox(limit_bytes)
        largest = max((len(item) for item in sent if isinstance(item, bytes)), default=0)

        async def send() -> None:
            for item in sent:
                await inbox.put(item)
                assert inbox.held_bytes < limit_bytes + max(largest, COMMAND_BYTES)

        sending = asyncio.create_task(send())
        taken: list[bytes | Command] = []

        async def take() -> None:
            while True:
                taken.append(await inbox.take())

        taking = asyncio.create_task(take())
        await sending
        await let_all_run()
        taking.cancel()
        await asyncio.wait([taking])
        return taken

    taken = asyncio.run(carry())
    assert joined(taken) == joined(sent)
    assert all(0 < len(item) <= CHUNK_BYTES for item in taken if isinstance(item, bytes))


async def test_what_waits_takes_little_more_memory_than_it_is_long():
    """Message after message, as a socket is read: a session's 12 MiB with a little around."""
    inbox = Inbox(100 * CHUNK_BYTES)
    tracemalloc.start()
    try:
        while inbox.held_bytes < 50 * CHUNK_BYTES:
            await inbox.put(bytes(1000))
            taken_bytes = tracemalloc.get_traced_memory()[0]
            assert taken_bytes < 1.03 * inbox.held_bytes + 2 * CHUNK_BYTES
    finally:
        tracemalloc.stop()


async def let_all_run() -> None:
    """Run the event loop until every task is blocked."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_full_inbox_blocks_its_writer_until_there_is_room():
    inbox = Inbox(limit_bytes=CHUNK_BYTES)
    await inbox.put(bytes(2 * CHUNK_BYTES))
    waiting = asyncio.create_task(inbox.put(b"more"))
    await let_all_run()
    assert not waiting.done()
    await inbox.take()
    await let_all_run()
    assert not waiting.done(), "a full chunk is still held"
    await inbox.take()
    await waiting
    assert await inbox.take() == b"more"
    assert inbox.held_bytes == 0


async def test_a_waiting_reader_gets_the_next_item():
    inbox = Inbox(limit_bytes=10)
    taking = asyncio.create_task(inbox.take())
    await let_all_run()
    await inbox.put(b"")
    await let_all_run()
    assert not taking.done()
    await inbox.put(b"audio")
    assert await taking == b"audio"


async def test_commands_count_against_the_limit():
    inbox = Inbox(limit_bytes=3 * COMMAND_BYTES)
    for _ in range(3):
        await inbox.put(stt_pb2.Flush())
    waiting = asyncio.create_task(inbox.put(stt_pb2.Flush()))
    await let_all_run()
    assert not waiting.done()
    await inbox.take()
    await waiting
