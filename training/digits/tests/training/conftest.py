from dataclasses import replace

import pytest

from digits_training.__main__ import DESIGN
from digits_training.sound.clips import ClipBank
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.plan import TrainingPlan
from digits_training.training.recognizer import train_recognizers


@pytest.fixture(scope="package")
def plan(bank: ClipBank, tmp_path_factory: pytest.TempPathFactory) -> TrainingPlan:
    """A few short steps; encoder and recognizer, the last two of its steps with codes, are trained
    already."""
    work_dir = tmp_path_factory.mktemp("work")
    bank.save(work_dir / TRAINING_BANK)
    plan = TrainingPlan(
        design=DESIGN,
        work_dir=work_dir,
        encoder=replace(TrainingPlan.encoder, steps=3),
        recognizer=replace(TrainingPlan.recognizer, steps=4),
        all_words=replace(TrainingPlan.all_words, steps=2),
        noise=replace(TrainingPlan.noise, steps=1),
        recognizer_windows=48,
        windows_per_part=16,
        workers=1,
        batch=2,
        frames=25,
        quantize_after_steps=2,
        latent_frames_for_codebooks=600,
        save_every_steps=3,
    )
    train_recognizers([plan])
    return plan
