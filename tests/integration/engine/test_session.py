"""Sessions on the real model thread: times, stalls, bounds."""

import asyncio
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from stt_service.engine.engine import Engine
from stt_service.engine.errors import (
    IdleTimeout,
    InvalidAudio,
    InvalidOptions,
    NoFreeSlot,
)
from stt_service.engine.events import Flushed, Pause, Token, Word
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import MAX_ITEMS_WAITING
from tests.integration.engine.harness import (
    FRAME_SAMPLES,
    SLOTS,
    Recorder,
    open_session,
    read_all,
    read_until_error,
    transcribe,
)
from tests.interleaving import become
from tests.support import MODEL_RATE_HERTZ

pytestmark = pytest.mark.asyncio(loop_scope="module")

FRAME_S = 0.08


def events_of(updates, kind):
    return [update.event for update in updates if isinstance(update.event, kind)]


async def test_human_digits_are_understood_with_their_times(engine: Engine, recordings) -> None:
    finals = await asyncio.gather(*[transcribe(engine, r.pcm_f32le()) for r in recordings])
    for final, recording in zip(finals, recordings, strict=True):
        assert final.transcript.strip() == recording.text
        duration_s = len(recording.samples()) / MODEL_RATE_HERTZ
        assert final.audio_duration_s == pytest.approx(duration_s)
        starts = [word.start_s for word in final.words]
        truth = [word.start_s for word in recording.words]
        assert np.abs(np.subtract(starts, truth)).max() < 0.35
        ends = [word.end_s for word in final.words]
        assert np.abs(np.subtract(ends, [w.end_s for w in recording.words])).max() < 0.25


async def test_tokens_joined_are_the_transcript(engine: Engine, recordings) -> None:
    async with open_session(engine) as session:
        reading = asyncio.create_task(read_all(session))
        await session.push_audio(recordings[0].pcm_f32le())
        session.finish()
        updates = await reading
    final = updates[-1].event
    assert "".join(token.text for token in events_of(updates, Token)) == final.transcript
    assert tuple(events_of(updates, Word)) == final.words
    processed = [update.processed_s for update in updates]
    assert processed == sorted(processed)


@pytest.mark.parametrize("interruption", ["flush", "stall"])
async def test_a_flush_or_a_stall_before_does_not_shift_the_times(
    engine: Engine, recorder: Recorder, recordings, interruption
) -> None:
    """The same audio, cut in a gap between its words: the later words keep their times."""
    pause = next(r for r in recordings if r.path.name == "07-jackson.wav")
    whole = await transcribe(engine, pause.pcm_f32le())
    gaps = [
        (b.start_s - a.end_s, (a.end_s + b.start_s) / 2)
        for a, b in zip(pause.words, pause.words[1:], strict=False)
    ]
    cut = round(max(gaps)[1] * MODEL_RATE_HERTZ) * 4
    data = pause.pcm_f32le()
    before = len(recorder.occupancies)
    async with open_session(engine, stall_timeout_s=0.3) as session:
        reading = asyncio.create_task(read_all(session))
        await session.push_audio(data[:cut])
        if interruption == "flush":
            await session.flush("here")
        else:
            # Steps that nobody sent audio for: the rest of a frame, and silence after it.
            sent = len(data[:cut]) // 4 // FRAME_SAMPLES
            await become(
                lambda: sum(len(o.frames) for o in recorder.occupancies[before:]) >= sent + 2,
                lambda: "the stall was not noticed",
                patience_s=60,
            )
        await session.push_audio(data[cut:])
        session.finish()
        updates = await reading
    final = updates[-1].event
    assert final.audio_duration_s == pytest.approx(whole.audio_duration_s)
    for word in whole.words:
        times = [other.start_s for other in final.words if other.text == word.text]
        assert min(abs(time_s - word.start_s) for time_s in times) <= FRAME_S + 1e-6


async def test_every_token_before_a_flush_comes_before_its_answer(
    engine: Engine, recordings
) -> None:
    async with open_session(engine) as session:
        await session.push_audio(recordings[0].pcm_f32le())
        await session.flush("f1")
        updates = []
        async for update in session:
            updates.append(update)
            if isinstance(update.event, Flushed):
                break
    assert updates[-1].event == Flushed("f1")
    assert "".join(t.text for t in events_of(updates, Token)).strip() == recordings[0].text


async def test_the_last_words_come_by_themselves_when_audio_stalls(
    engine: Engine, recordings
) -> None:
    async with open_session(engine) as session:
        await session.push_audio(recordings[0].pcm_f32le())
        words = []
        async with asyncio.timeout(20):
            async for update in session:
                if isinstance(update.event, Word):
                    words.append(update.event.text)
                if len(words) == len(recordings[0].words):
                    break
    assert " ".join(words) == recordings[0].text


async def test_a_pause_is_reported_once(engine: Engine, recordings) -> None:
    paused = next(r for r in recordings if r.path.name == "07-jackson.wav")
    gap_start_s, gap_end_s = max(
        ((a.end_s, b.start_s) for a, b in zip(paused.words, paused.words[1:], strict=False)),
        key=lambda gap: gap[1] - gap[0],
    )
    async with open_session(engine) as session:
        reading = asyncio.create_task(read_all(session))
        await session.push_audio(paused.pcm_f32le())
        session.finish()
        pauses = events_of(await reading, Pause)
    assert len(pauses) == 1
    assert gap_start_s < pauses[0].offset_s < gap_end_s


async def test_a_fast_sender_is_held_back_and_nothing_is_dropped(
    engine: Engine, recorder: Recorder
) -> None:
    """Far more than the buffer at once: the buffer stays bounded, the audio arrives whole."""
    audio = np.random.default_rng(5).normal(0, 0.01, 20 * MODEL_RATE_HERTZ).astype(np.float32)
    waiting = []
    async with open_session(engine) as session:
        pushing = asyncio.create_task(session.push_audio(audio.tobytes()))
        while not pushing.done():
            waiting.append(session.items_waiting)
            await asyncio.sleep(0.01)
        session.finish()
        updates = await read_all(session)
    assert max(waiting) <= MAX_ITEMS_WAITING + 5
    assert updates[-1].event.audio_duration_s == pytest.approx(20)
    # Others close meanwhile; the longest occupancy is this one.
    heard = np.concatenate(max(recorder.occupancies, key=lambda o: len(o.frames)).frames)
    assert np.array_equal(heard[: len(audio)], audio)


async def test_one_session_too_many_is_refused_and_a_closed_one_makes_room_at_once(
    engine: Engine, recorder: Recorder
) -> None:
    sessions = [await engine.open_session(SessionOptions()) for _ in range(SLOTS)]
    assert engine.slots_free == 0
    with pytest.raises(NoFreeSlot) as refusal:
        await engine.open_session(SessionOptions())
    assert refusal.value.retry_after_s > 0
    steps = len(recorder.steps)
    sessions[3].close()
    sessions[3] = await engine.open_session(SessionOptions())
    assert len(recorder.steps) <= steps + 1
    for session in sessions:
        session.close()
    assert engine.slots_free == SLOTS


async def test_a_caller_that_gives_up_while_it_is_admitted_leaves_no_lease(
    engine: Engine,
) -> None:
    for _ in range(2 * SLOTS):
        opening = asyncio.create_task(engine.open_session(SessionOptions()))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            opening.result().close()
    sessions = [await engine.open_session(SessionOptions()) for _ in range(SLOTS)]
    for session in sessions:
        session.close()


async def test_a_cancelled_opening_costs_nobody_else_their_words(
    engine: Engine, recordings
) -> None:
    """Openings are cancelled at every moment while another session is served."""
    dice = np.random.default_rng(20261127)
    transcribing = asyncio.create_task(transcribe(engine, recordings[0].pcm_f32le()))
    while not transcribing.done():
        opening = asyncio.create_task(engine.open_session(SessionOptions()))
        for _ in range(dice.integers(0, 4)):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        if not opening.cancelled():
            opening.result().close()
        await asyncio.sleep(0.001)
    assert (await transcribing).transcript.strip() == recordings[0].text


async def test_messages_without_a_sample_do_not_keep_a_session_alive(engine: Engine) -> None:
    async with open_session(engine, idle_timeout_s=0.5) as session:
        reading = asyncio.create_task(read_until_error(session))
        async with asyncio.timeout(10):
            while not reading.done():
                await session.push_audio(b"")
                await asyncio.sleep(0.05)
        _, error = await reading
    assert isinstance(error, IdleTimeout)


async def test_a_flush_id_is_no_place_to_store_things(engine: Engine) -> None:
    async with open_session(engine) as session:
        with pytest.raises(InvalidOptions, match="at most 256"):
            await session.flush("x" * 257)


async def test_no_audio_for_the_idle_timeout_ends_with_everything_said(
    engine: Engine, recordings
) -> None:
    async with open_session(engine, idle_timeout_s=1.0) as session:
        await session.push_audio(recordings[1].pcm_f32le())
        updates = []
        with pytest.raises(IdleTimeout, match="no audio for 1 s"):
            async for update in session:
                updates.append(update)
    assert updates[-1].event.transcript.strip() == recordings[1].text


async def test_bad_audio_ends_its_own_session_only(engine: Engine, recordings) -> None:
    async with open_session(engine) as bad:
        good = asyncio.create_task(transcribe(engine, recordings[2].pcm_f32le()))
        with pytest.raises(InvalidAudio):
            await bad.push_audio(np.array([0.0, np.nan], dtype="<f4").tobytes())
        assert (await good).transcript.strip() == recordings[2].text


async def test_an_idle_engine_does_not_spin(engine: Engine) -> None:
    """Its thread comes to rest: not woken once while the loop sleeps."""
    [thread] = [thread for thread in threading.enumerate() if thread.name == "model"]
    for _ in range(10):
        before = count_waits(thread)
        await asyncio.sleep(0.5)
        if count_waits(thread) == before:
            return
    pytest.fail("the model thread wakes up again and again with nobody there")


def count_waits(thread: threading.Thread) -> int:
    """How often the thread has gone to sleep, as Linux counts it."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.MULTILINE)[1])
