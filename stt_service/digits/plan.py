"""What a training run is. Imports no torch, so that `--help` can tell the defaults at once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrainingPlan:
    """A run. The same plan on the same bank gives the same weights."""

    design: Path
    """Folder whose configurations and tokenizer describe the model."""
    bank: Path
    run_dir: Path
    steps: int = 8_500
    noise_steps: int = 1_500
    """Steps after those, in which much is heard that is no speech, at a small rate of their own."""
    workers: int = 2
    batch_per_worker: int = 8
    frames: int = 80
    seed: int = 1
    peak_learning_rate: float = 1.5e-3
    noise_learning_rate: float = 3e-4
    warmup_steps: int = 200
    cooldown_share: float = 0.68
    weight_decay: float = 0.02
    gradient_norm: float = 1.0
    quantize_after_steps: int = 500
    digits_first_steps: int = 2_250
    latent_frames_for_codebooks: int = 24_000
    save_every_steps: int = 250
    log_every_steps: int = 25
    left_out_voice: str | None = None
    start_from: Path | None = None
    """Checkpoint folder to go on from; None trains from scratch."""

    @property
    def total_steps(self) -> int:
        return self.steps + self.noise_steps
