"""Fine-tune the whole model, the encoder's convolutions included: on all words, then in noise."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from functools import lru_cache, partial

import numpy as np

from digits_training.provenance import claim, fingerprint
from digits_training.sound.clips import ClipBank
from digits_training.sound.preparation import TRAINING_BANK
from digits_training.training.examples import ExampleMaker, stack_audio
from digits_training.training.joint import STEPS_WITHOUT_END, JointRun, load_trained
from digits_training.training.network import read_text_ids
from digits_training.training.plan import TrainingPlan
from digits_training.training.runs import STATE_NAME, run_workers
from digits_training.training.spectrum import measure_spectrum
from digits_training.training.stages import ALL_WORDS, MUCH_NOISE, Stage
from digits_training.training.targets import Targets

_SPECTRUM_SHARE = 0.2
"""Of the loss: the encoder leaves the spectrum only where that pays."""


def fine_tune(plan: TrainingPlan) -> None:
    """Go on from the plan's recognizer, or where the last saved state of this ends.

    Raises PlanError when that state is of another plan, bank or recognizer.
    """
    claim(
        plan.fine_tuned_dir,
        {
            "recognizer": fingerprint(plan.recognizer_dir / STATE_NAME),
            "bank": fingerprint(plan.work_dir / TRAINING_BANK),
            "stage of all words": ALL_WORDS,
            "schedule of all words (--all-words-steps)": plan.all_words,
            "stage of noise": MUCH_NOISE,
            "schedule of noise (--noise-steps)": plan.noise,
            "--seed": plan.seed,
            "--workers": plan.workers,
            "batch": plan.batch,
            "frames": plan.frames,
            "weight decay": plan.weight_decay,
            "gradient norm": plan.gradient_norm,
        },
    )
    run_workers(partial(_fine_tune, plan), plan.workers)


def get_stage(plan: TrainingPlan, step: int) -> Stage:
    """What is heard at a step."""
    return ALL_WORDS if step < plan.all_words.steps else MUCH_NOISE


def get_learning_rate(plan: TrainingPlan, step: int) -> float:
    """Each stage has its own rise and fall."""
    if step < plan.all_words.steps:
        return plan.all_words.get_rate(step)
    return plan.noise.get_rate(step - plan.all_words.steps)


class FineTuningRun(JointRun):
    """Hears windows that are made for each step; workers average gradients and codebooks."""

    def __init__(self, plan: TrainingPlan, rank: int) -> None:
        model = load_trained(plan.design, plan.recognizer_dir)
        super().__init__(
            plan,
            rank,
            folder=plan.fine_tuned_dir,
            total_steps=plan.fine_tuning_steps,
            model=model,
            parameters=model.get_parameters(with_convolutions=True),
        )
        bank = ClipBank.load(plan.work_dir / TRAINING_BANK)
        ids = read_text_ids(plan.design)
        self._make_maker = lru_cache(maxsize=1)(partial(ExampleMaker, bank, ids, seed=plan.seed))

    def take_step(self) -> dict[str, float]:
        self.seed_codes()
        plan = self.plan
        number = self.step * plan.workers + self.rank
        stage = get_stage(plan, self.step)
        maker = self._make_maker(stage)
        examples = maker.make(number, count=plan.batch_per_worker, frames=plan.frames)
        audio = stack_audio(examples)
        told = self.model.tell_spectrum(audio)
        targets = Targets.stack([example.targets for example in examples])
        rng = np.random.default_rng([plan.seed, STEPS_WITHOUT_END + number])
        batch = self.batches.make(rng, told, targets)
        losses = self.measure(batch, stage)
        spectrum_error = (told - measure_spectrum(audio)).square().mean()
        self.learn(
            losses.total + _SPECTRUM_SHARE * spectrum_error, get_learning_rate(plan, self.step)
        )
        return losses.describe() | {"spectrum": spectrum_error.item()}


def _fine_tune(plan: TrainingPlan, rank: int) -> Iterable[tuple[int, int, str]]:
    return FineTuningRun(plan, rank).go_on()
