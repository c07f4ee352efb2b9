"""Play trials to the real engine and note what it says."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np

from digits_training.evaluation.trials import Trial
from digits_training.sound.clips import FloatArray
from digits_training.vocabulary import FRAME_SAMPLES
from stt_service.config import EngineLimits
from stt_service.engine.engine import Engine
from stt_service.engine.events import Pause, Word
from stt_service.engine.model import BatchedModel
from stt_service.engine.model_thread import StepReport
from stt_service.engine.options import SessionOptions
from stt_service.engine.session import Session


@dataclass(frozen=True)
class Heard:
    """What came out of one session."""

    words: list[Word] = field(default_factory=list[Word])
    pauses_s: list[float] = field(default_factory=list[float])
    heads: FloatArray | None = None  # [steps, heads]: probability of a pause after each step


async def listen_to_all(
    checkpoint: Path,
    trials: Sequence[Trial],
    *,
    slots: int,
    on_heard: Callable[[], None] = lambda: None,
) -> list[Heard]:
    """Stream every trial in 80 ms messages, as many at once as there are slots.

    With one slot each result also carries the heads' probabilities, step by step.
    """
    recorder = HeadRecorder()
    note = recorder.note if slots == 1 else None
    # Nobody waits for these words, so the model may be as slow as it is.
    patience = EngineLimits(step_timeout_s=inf, max_behind_s=inf)
    engine = Engine(lambda: _load(checkpoint, slots), note, patience)
    await engine.start()
    places = asyncio.Semaphore(slots)

    async def listen(trial: Trial) -> Heard:
        async with places:
            heard = await _listen(engine, trial)
            on_heard()
            return heard

    try:
        results = await asyncio.gather(*(listen(trial) for trial in trials))
    finally:
        await engine.stop()
    if slots > 1:
        return results
    return [
        Heard(heard.words, heard.pauses_s, heads)
        for heard, heads in zip(results, recorder.sessions, strict=True)
    ]


class HeadRecorder:
    """Keeps the heads of each session of an engine with one slot; a reset begins a session."""

    def __init__(self) -> None:
        self._sessions: list[list[FloatArray]] = []

    @property
    def sessions(self) -> list[FloatArray]:
        """For each session in order: [steps, heads]."""
        return [np.stack(steps) for steps in self._sessions]

    def note(self, report: StepReport) -> None:
        if report.plan.reset[0]:
            self._sessions.append([])
        self._sessions[-1].append(report.output.pauses[0].copy())


async def _listen(engine: Engine, trial: Trial) -> Heard:
    session = await engine.open_session(SessionOptions())
    sending = asyncio.create_task(_send(session, trial.audio))
    heard = Heard()
    try:
        async for update in session:
            match update.event:
                case Word() as word:
                    heard.words.append(word)
                case Pause(offset_s):
                    heard.pauses_s.append(offset_s)
                case _:
                    pass
        await sending
    finally:
        session.close()
    return heard


async def _send(session: Session, audio: FloatArray) -> None:
    for start in range(0, len(audio), FRAME_SAMPLES):
        await session.push_audio(audio[start : start + FRAME_SAMPLES].tobytes())
    session.finish()


def _load(checkpoint: Path, slots: int) -> BatchedModel:
    # Imports torch, which takes seconds: only where a model is wanted.
    from stt_service.engine.step.moshi_model import MoshiModel

    return MoshiModel(str(checkpoint), slots, device="cpu", threads=1)
