from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stt_service.digits.__main__ import DESIGN
from stt_service.digits.sound.clips import ClipBank
from stt_service.digits.sound.preparation import TRAINING_BANK
from stt_service.digits.training.plan import PlanError, TrainingPlan
from stt_service.digits.training.pretraining import EncoderRun, pretrain
from stt_service.digits.training.recognizer import (
    RecognizerRun,
    get_learning_rate,
    get_stage,
    list_stages,
    load_trained,
    train,
)
from stt_service.digits.training.runs import LOG_NAME, STATE_NAME, Run
from stt_service.digits.training.stages import ALL_WORDS, DIGITS_FIRST, MUCH_NOISE, Stage
from stt_service.digits.training.windows import Windows, record_windows


@pytest.fixture(scope="module")
def plan(bank: ClipBank, tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    """A few short steps, the last two with codes; the encoder is taught already."""
    work_dir = tmp_path_factory.mktemp("work")
    bank.save(work_dir / TRAINING_BANK)
    plan = TrainingPlan(
        design=DESIGN,
        work_dir=work_dir,
        encoder_steps=3,
        digits_first_steps=4,
        all_words_steps=0,
        noise_steps=0,
        digits_first_windows=32,
        all_words_windows=16,
        noise_windows=16,
        windows_per_part=16,
        workers=1,
        batch=2,
        frames=25,
        quantize_after_steps=2,
        latent_frames_for_codebooks=600,
        save_every_steps=3,
    )
    pretrain(plan)
    record_windows(plan, DIGITS_FIRST, plan.digits_first_windows)
    return plan


def take_steps(run: Run) -> dict[str, torch.Tensor]:
    for _ in run.go_on():
        pass
    return run.get_state()


def go_until(run: Run, step: int) -> None:
    steps: Iterator[tuple[int, int, str]] = run.go_on()
    while run.step < step:
        next(steps)


def test_training_again_gives_the_same_weights(plan: TrainingPlan) -> None:
    first, second = (
        take_steps(RecognizerRun(replace(plan, run_name=name)))["model"] for name in "ab"
    )
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, msg=name)


def test_a_run_that_was_stopped_gives_the_same_weights(plan: TrainingPlan) -> None:
    whole = take_steps(RecognizerRun(replace(plan, run_name="whole")))["model"]
    stopped = replace(plan, run_name="stopped")
    go_until(RecognizerRun(stopped), 3)
    resumed = RecognizerRun(stopped)
    again = take_steps(resumed)["model"]
    assert resumed.model.quantizing
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)
    assert load_trained(DESIGN, stopped.run_dir).quantizing


def test_training_leaves_the_encoder_as_it_was_taught(plan: TrainingPlan) -> None:
    taught = torch.load(plan.encoder_dir / STATE_NAME, weights_only=True)["encoder"]
    take_steps(RecognizerRun(replace(plan, run_name="kept")))
    trained = load_trained(DESIGN, replace(plan, run_name="kept").run_dir)
    for name, tensor in trained.mimi.encoder.state_dict().items():
        assert torch.equal(tensor, taught[name]), name


def test_teaching_the_encoder_goes_on_where_it_stopped(plan: TrainingPlan, tmp_path: Path) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    stopped = replace(plan, work_dir=tmp_path, save_every_steps=1)
    go_until(EncoderRun(stopped, rank=0), 2)
    again = take_steps(EncoderRun(stopped, rank=0))["encoder"]
    whole = torch.load(plan.encoder_dir / STATE_NAME, weights_only=True)["encoder"]
    for name, tensor in whole.items():
        torch.testing.assert_close(again[name], tensor, msg=name)


def test_humans_do_not_teach_the_encoder(plan: TrainingPlan) -> None:
    examples = EncoderRun(plan, rank=0).examples.make(0, count=40, frames=25)
    assert frozenset[str]().union(*(example.voices for example in examples)) == {"robot"}


def test_a_run_with_another_plan_is_refused(plan: TrainingPlan) -> None:
    begun = replace(plan, run_name="begun")
    train([begun])
    with pytest.raises(PlanError, match="begun with another seed;"):
        train([replace(begun, seed=2)])
    with pytest.raises(PlanError, match="encoder was begun with another seed;"):
        pretrain(replace(plan, seed=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, "--workers 0 does not divide"),
        ({"workers": 3}, "--workers 3 does not divide"),
        ({"encoder_steps": 0}, "one step at least"),
        ({"digits_first_steps": 2}, "too few"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_says_why(
    plan: TrainingPlan, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        replace(plan, **changes)


def test_a_run_without_codes_is_not_exported(plan: TrainingPlan) -> None:
    early = replace(plan, run_name="early", save_every_steps=1)
    go_until(RecognizerRun(early), 1)
    with pytest.raises(PlanError, match="before its codebooks"):
        load_trained(DESIGN, early.run_dir)


def test_teaching_the_encoder_lowers_its_error(plan: TrainingPlan, tmp_path: Path) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    run = EncoderRun(
        replace(plan, work_dir=tmp_path, encoder_steps=40, encoder_warmup_steps=1), rank=0
    )
    errors: list[float] = []
    for run.step in range(40):
        errors.append(run.take_step()["error"])
    assert np.mean(errors[-5:]) < 0.8 * np.mean(errors[:5])


def test_steps_lower_the_loss_on_a_batch(plan: TrainingPlan) -> None:
    run = RecognizerRun(replace(plan, warmup_steps=1, digits_first_steps=50))
    windows = Windows.load(plan, DIGITS_FIRST, plan.digits_first_windows)
    batch = run.batches.draw(np.random.default_rng(0), windows, 2)
    losses = [run.learn(batch).describe()["total"] for _ in range(5)]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.slow
def test_two_workers_teach_an_encoder_and_train_side_by_side(
    plan: TrainingPlan, tmp_path: Path
) -> None:
    (tmp_path / TRAINING_BANK).symlink_to(plan.work_dir / TRAINING_BANK)
    plan = replace(plan, work_dir=tmp_path, noise_steps=1, workers=2, log_every_steps=1)
    pretrain(plan)
    runs = [replace(plan, run_name=name) for name in ("a", "b", "c")]
    train(runs)
    folders = [plan.encoder_dir, *(run.run_dir for run in runs)]
    for folder, steps in zip(folders, [3, 5, 5, 5], strict=True):
        assert torch.load(folder / STATE_NAME, weights_only=True)["step"] == steps
        assert len((folder / LOG_NAME).read_text().splitlines()) == steps


def test_the_learning_rate_rises_stays_and_falls_to_nothing(plan: TrainingPlan) -> None:
    long = replace(plan, digits_first_steps=1_000, warmup_steps=100, cooldown_share=0.3)
    rates = [get_learning_rate(long, step) for step in range(1_000)]
    assert rates[0] < 0.02 * long.peak_learning_rate
    assert set(rates[100:700]) == {long.peak_learning_rate}
    assert rates[-1] < 0.01 * long.peak_learning_rate


def test_the_learning_rate_rises_once_more_for_the_noise(plan: TrainingPlan) -> None:
    long = replace(plan, digits_first_steps=1_000, noise_steps=500, warmup_steps=100)
    rates = [get_learning_rate(long, step) for step in range(1_000, 1_500)]
    assert rates[0] < 0.02 * long.noise_learning_rate
    assert 0.7 * long.noise_learning_rate < max(rates) <= long.noise_learning_rate
    assert rates[-1] < 0.01 * long.noise_learning_rate


def test_digits_come_first_and_the_noise_last(plan: TrainingPlan) -> None:
    long = replace(plan, digits_first_steps=2, all_words_steps=2, noise_steps=2)
    stages: list[Stage] = [get_stage(long, step) for step in range(long.total_steps)]
    assert stages == [DIGITS_FIRST] * 2 + [ALL_WORDS] * 2 + [MUCH_NOISE] * 2
    assert list(list_stages(long).values()) == [32, 16, 16]


def test_a_stage_without_steps_wants_no_windows(plan: TrainingPlan) -> None:
    assert list(list_stages(plan)) == [DIGITS_FIRST]
