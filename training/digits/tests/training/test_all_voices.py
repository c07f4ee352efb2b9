import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from digits_training.__main__ import DESIGN
from digits_training.errors import PlanError
from digits_training.sound.clips import ClipBank
from digits_training.sound.new_voices import NEW_VOICES_BANK
from digits_training.training.all_voices import (
    VoicesRun,
    load_checkpoint,
    train_on_all_voices,
)
from digits_training.training.joint import load_trained
from digits_training.training.network import fold_tables
from digits_training.training.plan import TrainingPlan
from digits_training.training.runs import STATE_NAME

from .steps import go_until, take_steps


@pytest.fixture(scope="module")
def wide(
    bank: ClipBank, plan: TrainingPlan, tmp_path_factory: pytest.TempPathFactory
) -> TrainingPlan:
    """Two steps from the checkpoint that is shipped."""
    work_dir = tmp_path_factory.mktemp("wide")
    bank.save(work_dir / "training.npz")
    bank.save(work_dir / NEW_VOICES_BANK)
    plan = replace(plan, work_dir=work_dir, voices=replace(plan.voices, steps=2), voices_windows=16)
    train_on_all_voices(plan, DESIGN)
    return plan


def test_a_checkpoint_is_taken_up_where_it_was_written() -> None:
    model = load_checkpoint(DESIGN, DESIGN)
    tables = [table.weight.detach().clone() for table in model.lm.emb]
    fold_tables(model)
    for before, table in zip(tables, model.lm.emb, strict=True):
        torch.testing.assert_close(table.weight, before, atol=1e-4, rtol=0)


def test_all_but_the_convolutions_is_trained(wide: TrainingPlan) -> None:
    before = load_checkpoint(DESIGN, DESIGN).state_dict()
    after = load_trained(DESIGN, wide.voices_dir).state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith(("mimi.encoder.", "mimi.decoder")) for name in changed)
    for part in ("mimi.encoder_transformer", "mimi.quantizer", "lm.transformer", "hear"):
        assert any(name.startswith(part) for name in changed), part


def test_a_run_that_was_stopped_gives_the_same_weights(wide: TrainingPlan, tmp_path: Path) -> None:
    whole = torch.load(wide.voices_dir / STATE_NAME, weights_only=True)["model"]
    shutil.copytree(wide.work_dir, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / wide.voices_dir.name)
    stopped = replace(wide, work_dir=tmp_path, save_every_steps=1)
    go_until(VoicesRun(stopped, DESIGN, rank=0), 1)
    again = take_steps(VoicesRun(stopped, DESIGN, rank=0))["model"]
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)


def test_another_start_is_refused(wide: TrainingPlan, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(DESIGN, other)
    with (other / "mimi.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(PlanError, match="begun with another encoder;"):
        train_on_all_voices(wide, other)
