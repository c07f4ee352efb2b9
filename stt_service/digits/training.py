"""Train encoder, quantizer and language model jointly, on one or more single-thread processes."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportPrivateUsage=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportIndexIssue=false, reportAttributeAccessIssue=false

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import multiprocessing

from stt_service.digits.clips import ClipBank
from stt_service.digits.examples import Batch, ExampleMaker
from stt_service.digits.losses import Losses, measure_losses, weigh_text
from stt_service.digits.network import JointModel, build_model, load_model, read_text_ids
from stt_service.digits.plan import TrainingPlan
from stt_service.digits.stages import ALL_WORDS, DIGITS_FIRST, MUCH_NOISE, Stage

STATE_NAME = "training.pt"
LOG_NAME = "log.jsonl"
_STEPS_WITHOUT_END = 1_000_000


def train(plan: TrainingPlan) -> None:
    """Run the plan, or go on with it where run_dir's last saved state ends."""
    plan.run_dir.mkdir(parents=True, exist_ok=True)
    rendezvous = plan.run_dir / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    multiprocessing.spawn(_work, (plan, f"file://{rendezvous}"), nprocs=plan.workers)


def get_learning_rate(plan: TrainingPlan, step: int) -> float:
    """Rise, stay, fall to zero; then rise and fall once more, less high, among the noise.

    A longer or shorter run differs only in where the falls begin.
    """
    if step < plan.steps:
        peak, cooldown_steps = plan.peak_learning_rate, plan.cooldown_share * plan.steps
        since, left = step, plan.steps - step
    else:
        peak, cooldown_steps = plan.noise_learning_rate, plan.noise_steps
        since, left = step - plan.steps, plan.total_steps - step
    return peak * min(1.0, (since + 1) / plan.warmup_steps, left / cooldown_steps)


def get_stage(plan: TrainingPlan, step: int) -> Stage:
    """What is heard at a step."""
    if step < plan.digits_first_steps:
        return DIGITS_FIRST
    return ALL_WORDS if step < plan.steps else MUCH_NOISE


class Trainer:
    """One worker of a run. Gradients are averaged over the workers at every step."""

    def __init__(self, plan: TrainingPlan, rank: int) -> None:
        ids = read_text_ids(plan.design)
        self.plan = plan
        self.rank = rank
        self.bank = ClipBank.load(plan.bank).filter(lambda clip: clip.voice != plan.left_out_voice)
        self.model = self._make_model()
        self.model.train()
        self.parameters = self.model.get_trained_parameters()
        self.optimizer = make_optimizer(self.parameters, plan.weight_decay)
        self.examples = ExampleMaker(
            self.bank, ids, self.model.lm.text_initial_token_id, seed=plan.seed
        )
        self.text_weights = weigh_text(self.model.lm.text_card, ids)
        self.step = 0

    def _make_model(self) -> JointModel:
        if self.plan.start_from is not None:
            return load_model(self.plan.start_from)
        return build_model(self.plan.design, seed=self.plan.seed)

    def run(self) -> Iterator[Losses]:
        """Yield the losses of each step until the plan is done; save as the plan says."""
        while self.step < self.plan.total_steps:
            # Codes are placed at random, so a run that was resumed must draw as one that was not.
            torch.manual_seed(self.plan.seed * _STEPS_WITHOUT_END + self.step)
            if not self.model.quantizing and self.step >= self.plan.quantize_after_steps:
                self.model.start_quantizing(self._collect_latents())
            losses = self.take_step(self._make_batch(self.step))
            self.step += 1
            if self.rank == 0 and self._is_time_to_save():
                self.save()
            yield losses

    def take_step(self, batch: Batch) -> Losses:
        """One forward, one backward, one update."""
        for group in self.optimizer.param_groups:
            group["lr"] = get_learning_rate(self.plan, self.step)
        losses = measure_losses(
            self.model(batch.audio, batch.text_history), batch, self.text_weights
        )
        self.optimizer.zero_grad(set_to_none=False)
        losses.total.backward()
        average_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.plan.gradient_norm)
        self.optimizer.step()
        return losses

    def _make_batch(self, number: int) -> Batch:
        return self.examples.make_batch(
            number,
            self.rank,
            size=self.plan.batch_per_worker,
            frames=self.plan.frames,
            stage=get_stage(self.plan, self.step),
        )

    @torch.no_grad()
    def _collect_latents(self) -> torch.Tensor:
        """Latents of fresh examples, [dimension, frames]; moshi gathers the workers' shares."""
        needed = self.plan.latent_frames_for_codebooks // self.plan.workers
        latents: list[torch.Tensor] = []
        while sum(latent.shape[1] for latent in latents) < needed:
            # Beyond every step, so that these examples are not trained on twice.
            batch = self._make_batch(_STEPS_WITHOUT_END + len(latents))
            latents.append(self.model.encode(batch.audio).transpose(0, 1).flatten(1))
        return torch.cat(latents, dim=1)

    def _is_time_to_save(self) -> bool:
        return self.step % self.plan.save_every_steps == 0 or self.step == self.plan.total_steps

    def save(self) -> None:
        """Replace the saved state in one move."""
        path = self.plan.run_dir / STATE_NAME
        partial = path.with_suffix(".partial")
        state = {
            "step": self.step,
            "quantizing": self.model.quantizing,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plan": {name: str(value) for name, value in asdict(self.plan).items()},
        }
        torch.save(state, partial)
        partial.replace(path)

    def resume(self) -> None:
        """Go on where the saved state ends, if there is one."""
        path = self.plan.run_dir / STATE_NAME
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            self.model.quantizing = state["quantizing"]
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])


def load_trained(plan_design: Path, state_path: Path) -> JointModel:
    """The model of a saved state, for export."""
    model = build_model(plan_design, seed=0)
    model.load_state_dict(torch.load(state_path, weights_only=True)["model"])
    model.quantizing = True
    return model.eval()


def make_optimizer(parameters: list[torch.nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """AdamW; only matrices and kernels decay, not gains and biases."""
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    vectors = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def average_gradients(parameters: list[torch.nn.Parameter]) -> None:
    """Average over the workers, in one message."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    pieces = flat.split([gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))


def _work(rank: int, plan: TrainingPlan, rendezvous: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=plan.workers)
    trainer = Trainer(plan, rank)
    trainer.resume()
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=rank != 0) as progress:
        task = progress.add_task("Training", total=plan.total_steps, completed=trainer.step)
        for losses in trainer.run():
            progress.update(task, completed=trainer.step, description=_describe(losses))
            if rank == 0 and trainer.step % plan.log_every_steps == 0:
                _log(plan.run_dir / LOG_NAME, trainer.step, losses)
    dist.destroy_process_group()


def _describe(losses: Losses) -> str:
    parts = (("text", losses.text), ("state", losses.state), ("pause", losses.pause))
    return "  ".join(f"{name} {loss.item():.3f}" for name, loss in parts)


def _log(path: Path, step: int, losses: Losses) -> None:
    entry = {"time": round(time.time(), 1), "step": step}
    entry |= {name: round(float(value.detach()), 4) for name, value in vars(losses).items()}
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")
