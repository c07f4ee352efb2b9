"""What a training is. Imports no torch, so that `--help` can tell the defaults at once."""

from dataclasses import dataclass
from pathlib import Path

from digits_training.errors import PlanError


@dataclass(frozen=True)
class Schedule:
    """So many steps at a learning rate that rises, stays at its peak, and falls to zero."""

    steps: int
    peak: float
    warmup_steps: int
    cooldown_share: float

    def get_rate(self, step: int) -> float:
        """The rate of a step, counted from zero."""
        rise = (step + 1) / self.warmup_steps
        fall = (self.steps - step) / (self.cooldown_share * self.steps)
        return self.peak * min(1.0, rise, fall)


@dataclass(frozen=True)
class TrainingPlan:
    """A training. The same plan on the same bank gives the same weights.

    Raises PlanError when it cannot be carried out.
    """

    design: Path
    """Folder whose configurations and tokenizer describe the model."""
    work_dir: Path
    """Holds the bank of clips; encoder and windows are kept there and serve every recognizer."""
    recognizer_name: str = "recognizer"
    left_out_voice: str | None = None
    """Whom the recognizer never hears."""
    workers: int = 2
    """Processes of one thread, one for each core: they train one model together, make windows and
    train several recognizers side by side."""
    seed: int = 1

    batch: int = 16
    """Windows at each step; workers that go together have equal shares of them."""
    frames: int = 80
    """Length of a window."""
    save_every_steps: int = 250
    log_every_steps: int = 25
    gradient_norm: float = 1.0
    weight_decay: float = 0.05

    encoder: Schedule = Schedule(1_600, peak=3e-3, warmup_steps=100, cooldown_share=0.7)

    recognizer: Schedule = Schedule(3_000, peak=3e-3, warmup_steps=150, cooldown_share=0.68)
    recognizer_windows: int = 36_864
    windows_per_part: int = 256
    quantize_after_steps: int = 300
    latent_frames_for_codebooks: int = 24_000

    all_words: Schedule = Schedule(7_000, peak=1.5e-3, warmup_steps=150, cooldown_share=0.68)
    noise: Schedule = Schedule(1_000, peak=4e-4, warmup_steps=150, cooldown_share=1.0)

    voices: Schedule = Schedule(26_000, peak=1.2e-3, warmup_steps=100, cooldown_share=0.7)
    voices_windows: int = 45_056

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise PlanError(f"--seed {self.seed} is below zero")
        if self.workers < 1 or self.batch % self.workers:
            raise PlanError(f"--workers {self.workers} does not divide {self.batch} windows")
        if self.encoder.steps < 1:
            raise PlanError("the encoder wants one step at least")
        if self.recognizer.steps <= self.quantize_after_steps:
            raise PlanError(
                f"{self.recognizer.steps} steps are too few for the recognizer: its codebooks are "
                f"placed after {self.quantize_after_steps}"
            )
        if min(self.all_words.steps, self.noise.steps) < 0 or not self.fine_tuning_steps:
            raise PlanError("fine-tuning wants one step at least")

    @property
    def batch_per_worker(self) -> int:
        return self.batch // self.workers

    @property
    def fine_tuning_steps(self) -> int:
        return self.all_words.steps + self.noise.steps

    @property
    def encoder_dir(self) -> Path:
        return self.work_dir / "encoder"

    @property
    def windows_dir(self) -> Path:
        return self.work_dir / "windows"

    @property
    def recognizer_dir(self) -> Path:
        return self.work_dir / self.recognizer_name

    @property
    def narrow_checkpoint_dir(self) -> Path:
        return self.work_dir / "checkpoint-of-few-voices"

    @property
    def voices_windows_dir(self) -> Path:
        return self.work_dir / "windows-of-voices"

    @property
    def voices_dir(self) -> Path:
        return self.work_dir / "all-voices"

    @property
    def fine_tuned_dir(self) -> Path:
        return self.work_dir / "fine-tuned"
