import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from digits_training.__main__ import DESIGN
from digits_training.errors import PlanError
from digits_training.sound.clips import ClipBank
from digits_training.training.batches import BatchMaker
from digits_training.training.examples import ExampleMaker
from digits_training.training.network import read_text_ids
from digits_training.training.plan import TrainingPlan
from digits_training.training.pretraining import pretrain
from digits_training.training.spectrum import SpectrumVarier, Variation
from digits_training.training.stages import DIGITS_FIRST
from digits_training.training.windows import Windows, record_windows


def list_voices(plan: TrainingPlan) -> list[list[str]]:
    voices: list[list[str]] = []
    for path in sorted(plan.windows_dir.glob("*.npz")):
        with np.load(path) as part:
            voices += json.loads(str(part["voices"]))
    return voices


def test_fewer_windows_are_the_first(plan: TrainingPlan) -> None:
    whole, fewer = Windows.load(plan), Windows.load(replace(plan, recognizer_windows=20))
    assert (len(whole), len(fewer)) == (plan.recognizer_windows, 20)
    np.testing.assert_array_equal(whole.targets.text[:20], fewer.targets.text)


def test_humans_are_not_heard_in_the_noise(bank: ClipBank) -> None:
    """Windows without words sound the same whoever the humans are."""
    silent = replace(DIGITS_FIRST, habits=replace(DIGITS_FIRST.habits, speechless_share=1.0))
    fewer = bank.filter(lambda clip: clip.voice != "ada")
    ids = read_text_ids(DESIGN)
    these, those = (
        ExampleMaker(one, ids, silent, seed=1).make(0, count=40, frames=25) for one in (bank, fewer)
    )
    for this, that in zip(these, those, strict=True):
        assert torch.equal(this.audio, that.audio)


def test_windows_of_another_encoder_are_refused(plan: TrainingPlan, tmp_path: Path) -> None:
    shutil.copytree(plan.work_dir, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "encoder")
    other = replace(plan, work_dir=tmp_path, encoder=replace(plan.encoder, steps=2))
    pretrain(other)
    with pytest.raises(PlanError, match="windows was begun with another encoder;"):
        record_windows(other)


def test_windows_with_a_voice_can_be_left_out(plan: TrainingPlan) -> None:
    heard = sum("ada" in voices for voices in list_voices(plan))
    assert heard > 0
    left = Windows.load(replace(plan, left_out_voice="ada"))
    assert len(left) == plan.recognizer_windows - heard
    kept = ["ada" not in voices for voices in list_voices(plan)]
    np.testing.assert_array_equal(left.spectra, Windows.load(plan).spectra[kept])


def test_what_is_there_is_not_made_again(plan: TrainingPlan) -> None:
    path = plan.windows_dir / "0001.npz"
    before = path.stat().st_mtime_ns
    record_windows(plan)
    assert path.stat().st_mtime_ns == before


def test_a_part_is_the_same_when_it_is_made_again(plan: TrainingPlan, tmp_path: Path) -> None:
    before = Windows.load(plan)
    (plan.windows_dir / "0001.npz").rename(tmp_path / "0001.npz")
    record_windows(plan)
    after = Windows.load(plan)
    np.testing.assert_array_equal(after.spectra, before.spectra)
    np.testing.assert_array_equal(after.targets.states, before.targets.states)


def test_a_batch_is_told_what_was_said_a_step_ago(plan: TrainingPlan) -> None:
    ids = read_text_ids(DESIGN)
    windows = Windows.load(plan)
    maker = BatchMaker(ids, initial_text_id=30)
    varier = SpectrumVarier(Variation())
    batch = maker.draw(np.random.default_rng(1), windows, len(windows), varier)
    assert batch.spectra.shape == (len(windows), 128, 50)
    assert batch.spectra.dtype == torch.float32
    assert (batch.text_history[:, 0] == 30).all()
    agree = (batch.text_history[:, 1:] == batch.text[:, :-1]).float().mean()
    assert 0.95 < float(agree) < 1.0
