"""The loop's side of a session, without an engine."""

import asyncio
from dataclasses import replace

import numpy as np

from stt_service.engine.allowance import Allowance
from stt_service.engine.frames import Framer
from stt_service.engine.pcm import PIECE_BYTES
from stt_service.engine.session import MAX_ITEMS_WAITING, Session
from tests.ogg_files import Layout, encode_opus, write_ogg, write_page
from tests.unit.engine.models import FRAME_SAMPLES, SAMPLE_RATE_HERTZ

AUDIO = encode_opus(np.zeros(SAMPLE_RATE_HERTZ), SAMPLE_RATE_HERTZ)


def open_session(pushed: list) -> Session:
    framer = Framer("ogg_opus", SAMPLE_RATE_HERTZ, SAMPLE_RATE_HERTZ, FRAME_SAMPLES)
    clock = asyncio.get_running_loop().time
    return Session(
        "test",
        framer,
        pushed.extend,
        lambda: None,
        clock,
        idle_timeout_s=60,
        stall_timeout_s=60,
        allowance=Allowance(),
    )


async def test_a_large_message_without_audio_leaves_others_their_turn() -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    session = open_session([])
    await session.push_audio(write_ogg(replace(AUDIO, packets=[])))
    message = write_page([], serial_number=1) * (4 * PIECE_BYTES // 27)
    counting = asyncio.create_task(count_turns())
    await session.push_audio(message)
    counting.cancel()
    session.close()
    assert turns >= 3


async def test_a_bomb_waits_for_the_model_and_ends_with_its_session() -> None:
    pushed: list = []
    session = open_session(pushed)
    bomb = replace(AUDIO, packets=[bytes([0b11100011, 48])] * 255 * 200)
    data = write_ogg(bomb, Layout(packets_per_page=255, has_last_page=False))
    pushing = asyncio.create_task(session.push_audio(data))
    for _ in range(100):
        await asyncio.sleep(0)
    waiting_s = session.lag_s
    assert MAX_ITEMS_WAITING <= len(pushed) < MAX_ITEMS_WAITING + 10
    session.close()
    await pushing
    assert session.lag_s == waiting_s < 10
