"""What a training is. Imports no torch, so that `--help` can tell the defaults at once."""

from dataclasses import dataclass
from pathlib import Path

LEFT_OUT_STEPS = 2_400
"""Of a run without one speaker, which ends when the digits are learnt."""


class PlanError(ValueError):
    """What was asked for cannot be done; the message says what to ask for instead."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training. The same plan on the same bank gives the same weights.

    Raises PlanError when it cannot be carried out.
    """

    design: Path
    """Folder whose configurations and tokenizer describe the model."""
    work_dir: Path
    """Holds the bank of clips; encoder and windows are kept there and serve every run."""
    run_name: str = "run"
    workers: int = 2
    """Processes of one thread, one for each core: they teach the encoder together, make windows
    and take runs side by side. A run has one thread."""
    seed: int = 1

    batch: int = 16
    """Windows at each step; the workers that teach the encoder have equal shares of them."""
    frames: int = 80
    """Length of a window."""
    save_every_steps: int = 250
    log_every_steps: int = 25
    gradient_norm: float = 1.0

    encoder_steps: int = 1_600
    encoder_peak_learning_rate: float = 3e-3
    encoder_warmup_steps: int = 100
    encoder_cooldown_share: float = 0.7

    digits_first_steps: int = 3_000
    all_words_steps: int = 3_500
    noise_steps: int = 1_500
    """At a small rate of their own."""
    digits_first_windows: int = 24_576
    all_words_windows: int = 24_576
    noise_windows: int = 12_288
    windows_per_part: int = 256
    peak_learning_rate: float = 3e-3
    noise_learning_rate: float = 3e-4
    warmup_steps: int = 150
    cooldown_share: float = 0.68
    weight_decay: float = 0.05
    quantize_after_steps: int = 300
    latent_frames_for_codebooks: int = 24_000
    left_out_voice: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1 or self.batch % self.workers:
            raise PlanError(f"--workers {self.workers} does not divide {self.batch} windows")
        if self.encoder_steps < 1:
            raise PlanError("the encoder wants one step at least")
        if self.total_steps <= self.quantize_after_steps:
            raise PlanError(
                f"{self.total_steps} steps are too few: the codebooks are placed "
                f"after {self.quantize_after_steps}"
            )

    @property
    def encoder_dir(self) -> Path:
        return self.work_dir / "encoder"

    @property
    def windows_dir(self) -> Path:
        return self.work_dir / "windows"

    @property
    def run_dir(self) -> Path:
        return self.work_dir / self.run_name

    @property
    def word_steps(self) -> int:
        """Steps at the large rate, before the noise."""
        return self.digits_first_steps + self.all_words_steps

    @property
    def total_steps(self) -> int:
        return self.word_steps + self.noise_steps
