import asyncio

from hypothesis import given
from hypothesis import strategies as st

from gateway.serving.received import Received

ITEMS = st.lists(st.one_of(st.binary(max_size=100), st.text(max_size=20)), max_size=60)


@given(items=ITEMS)
def test_everything_comes_out_once_in_order_and_audio_is_joined(items: list[bytes | str]):
    async def run() -> None:
        received = Received(100)
        for item in items:
            if isinstance(item, bytes):
                received.add_audio(item)
            else:
                received.add_message(item)
        received.add({"type": "websocket.disconnect", "code": 1000})
        taken = []
        while (event := await received.take())["type"] != "websocket.disconnect":
            taken.append(event.get("bytes", event.get("text")))
        assert not received.is_full
        assert taken == joined(items)

    asyncio.run(run())


def joined(items: list[bytes | str]) -> list[bytes | str]:
    result: list[bytes | str] = []
    for item in items:
        if item == b"":
            continue
        if isinstance(item, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += item
        else:
            result.append(item)
    return result


async def test_it_is_full_at_its_limit_until_it_is_read():
    received = Received(100)
    received.add_audio(bytes(99))
    assert not received.is_full
    received.add_audio(b"x")
    assert received.is_full
    await received.take()
    assert not received.is_full


async def test_short_texts_cannot_pile_up():
    received = Received(64 * 1024)
    for _ in range(64):
        received.add_message("")
    assert received.is_full
