"""Audio that is late in the middle of a word, or flushed there, is heard as if it had not been."""

import asyncio
import contextlib

import pytest

from stt_service.engine import silence
from stt_service.engine.engine import Engine
from stt_service.engine.events import Final, Flushed, Token, Word
from stt_service.engine.session import Session, Update
from tests.integration.engine.harness import SLOTS, Recorder, open_session, read_all
from tests.interleaving import become
from tests.support import MODEL_RATE_HERTZ, Recording

pytestmark = pytest.mark.asyncio(loop_scope="module")

STALL_S = 0.25
NEVER_S = 600.0
SOON_S = 0.1


@pytest.fixture(autouse=True)
def settle_s(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> float:
    """A busy machine may take longer than the second after which a stall is settled."""
    seconds = getattr(request, "param", NEVER_S)
    monkeypatch.setattr(silence, "SETTLE_S", seconds)
    return seconds


def cut_within_words(recording: Recording) -> list[int]:
    """Places in bytes, each in the middle of a word, seldom at the end of a frame."""
    middles = [(word.start_s + word.end_s) / 2 for word in recording.words]
    return [round(middle * MODEL_RATE_HERTZ) * 4 for middle in middles]


async def hear(
    engine: Engine, recorder: Recorder, recording: Recording, *, flush: bool = False
) -> list[list[Update]]:
    """The updates of a session for each word, all at once, in which the audio stops there."""
    recorder.forget()
    data = recording.pcm_f32le()
    cuts = cut_within_words(recording)[:SLOTS]
    async with contextlib.AsyncExitStack() as stack:
        sessions: list[Session] = []
        readings: list[asyncio.Task[list[Update]]] = []
        for cut in cuts:
            session = await stack.enter_async_context(
                open_session(engine, stall_timeout_s=NEVER_S if flush else STALL_S)
            )
            readings.append(asyncio.create_task(read_all(session)))
            await session.push_audio(data[:cut])
            if flush:
                await session.flush("here")
            sessions.append(session)
        await become(
            lambda: (
                sum(each.detours for each in recorder.occupancies) == len(cuts)
                and not any(session.items_waiting for session in sessions)
            ),
            lambda: "the audio that is late was not noticed",
            patience_s=60,
        )
        if silence.SETTLE_S == SOON_S:
            await asyncio.sleep(2 * SOON_S)
            await become(
                lambda: not any(session.items_waiting for session in sessions),
                lambda: "the stalls were not settled",
            )
        for session, cut in zip(sessions, cuts, strict=True):
            await session.push_audio(data[cut:])
            session.finish()
        return await asyncio.gather(*readings)


def check(updates: list[Update], recording: Recording) -> list[str]:
    """The words of the final event, with which everything else agrees."""
    events = [update.event for update in updates]
    final = events[-1]
    assert isinstance(final, Final)
    assert "".join(event.text for event in events if isinstance(event, Token)) == final.transcript
    assert tuple(event for event in events if isinstance(event, Word)) == final.words
    starts = [word.start_s for word in final.words]
    assert starts == sorted(starts)
    processed = [update.processed_s for update in updates]
    assert processed == sorted(processed)
    assert final.audio_duration_s == pytest.approx(len(recording.samples()) / MODEL_RATE_HERTZ)
    return [word.text for word in final.words]


@pytest.mark.parametrize("number", [0, 2, 5])
async def test_a_stall_within_any_word_changes_none(
    engine: Engine, recorder: Recorder, recordings: tuple[Recording, ...], number: int
) -> None:
    recording = recordings[number]
    for updates in await hear(engine, recorder, recording):
        assert check(updates, recording) == recording.text.split()


@pytest.mark.parametrize("settle_s", [SOON_S], indirect=True)
async def test_a_long_stall_costs_no_other_word(
    engine: Engine, recorder: Recorder, recordings: tuple[Recording, ...]
) -> None:
    """What was told of the word before it was whole stays told."""
    recording = recordings[1]
    truth = recording.text.split()
    heard = await hear(engine, recorder, recording)
    for cut, updates in enumerate(heard):
        words = check(updates, recording)
        assert len(words) == len(truth)
        assert words[:cut] + words[cut + 1 :] == truth[:cut] + truth[cut + 1 :]


async def test_a_flush_within_any_word_costs_no_other_word(
    engine: Engine, recorder: Recorder, recordings: tuple[Recording, ...]
) -> None:
    recording = recordings[3]
    truth = recording.text.split()
    for cut, updates in enumerate(await hear(engine, recorder, recording, flush=True)):
        assert sum(isinstance(update.event, Flushed) for update in updates) == 1
        words = check(updates, recording)
        assert words[:cut] + words[cut + 1 :] == truth[:cut] + truth[cut + 1 :]
