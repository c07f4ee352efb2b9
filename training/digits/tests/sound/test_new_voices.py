from pathlib import Path
from typing import cast

import numpy as np
import pytest

from digits_training.errors import PlanError
from digits_training.sound import new_voices
from digits_training.sound.clips import ClipBank
from digits_training.sound.ear import Ear
from digits_training.sound.neural import NeuralSpeaker, Speech
from digits_training.sound.new_voices import (
    NEW_VOICES_BANK,
    STRANGERS_BANK,
    prepare_new_voices,
    read_tally,
)
from digits_training.vocabulary import DIGITS


class Whistler:
    """Says every word as a tone of a third of a second."""

    def say(self, phonemes: list[str], style: object, *, speed: float, between: str) -> Speech:
        tone = np.sin(np.arange(8_000) / 10).astype(np.float32)
        bounds_s = [(number / 3, (number + 1) / 3) for number in range(len(phonemes))]
        return Speech(np.tile(tone, len(phonemes)), bounds_s)


class Deaf:
    """Takes whatever it hears for one "one"."""

    def hear(self, samples: object) -> list[str]:
        return ["one"]


@pytest.fixture
def work(bank: ClipBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both banks, of two voices of each sort, with a speaker and an ear that cost nothing."""
    pytest.importorskip("parselmouth", reason="the extra `voices` is not installed")
    monkeypatch.setattr(new_voices, "NeuralSpeaker", lambda: cast(NeuralSpeaker, Whistler()))
    monkeypatch.setattr(new_voices, "Ear", lambda: cast(Ear, Deaf()))
    for name in ("list_training_voices", "list_held_out_voices"):
        voices = getattr(new_voices, name)()
        monkeypatch.setattr(new_voices, name, lambda voices=voices: voices[:2])
    monkeypatch.setattr("digits_training.sound.running.spell", lambda words: list(words))
    prepare_new_voices(bank.filter(lambda clip: clip.human), tmp_path)
    return tmp_path


def test_what_the_ear_does_not_understand_is_trained_on_by_nobody(work: Path) -> None:
    neural = ClipBank.load(work / NEW_VOICES_BANK).filter(lambda clip: not clip.human)
    assert len(neural.get_voices(human=False)) == 2
    assert {clip.word for clip in neural.clips if clip.word in DIGITS} <= {"one"}
    assert sum(clip.word not in DIGITS for clip in neural.clips) == 2 * 20


def test_strangers_say_everything_and_are_counted(work: Path) -> None:
    strangers = ClipBank.load(work / STRANGERS_BANK)
    for voice in strangers.get_voices(human=False):
        alone = [clip.word for clip in strangers.clips if clip.voice == voice and not clip.rest]
        assert set(DIGITS) <= set(alone)
        assert read_tally(work)[voice].said == 50


def test_every_recording_is_heard_in_another_throat(work: Path, bank: ClipBank) -> None:
    shifted = ClipBank.load(work / NEW_VOICES_BANK).filter(lambda clip: clip.human)
    said = [clip.word for clip in bank.clips if clip.human]
    assert [clip.word for clip in shifted.clips] == said


def test_other_voices_are_not_mixed_in(work: Path, bank: ClipBank) -> None:
    styles = new_voices.list_training_voices()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(new_voices, "list_training_voices", lambda: styles[:1])
        with pytest.raises(PlanError, match="begun with another styles"):
            prepare_new_voices(bank, work)
