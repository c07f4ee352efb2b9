"""Trainings that go step by step, in processes of one thread, and that can be resumed.

On a CPU such processes beat one process with as many threads.
"""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

import json
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import multiprocessing

from digits_training.training.plan import TrainingPlan

STATE_NAME = "training.pt"
LOG_NAME = "log.jsonl"

Work: TypeAlias = Callable[[int], Iterable[tuple[int, int, str]]]
"""Called with the worker's rank; yields (done, of how many, what to show) as it goes."""


def run_workers(work: Work, workers: int, *, together: bool = True) -> None:
    """Do the work in so many processes and show the progress of the first. `work` is pickled.

    Workers that are not `together` know nothing of each other: `average` averages nothing.
    Raises torch's ProcessRaisedException with the traceback of the first worker that failed; one
    worker alone works in this process.
    """
    if workers == 1:
        _work_and_show(work, 0)
    elif not together:
        multiprocessing.spawn(_start, (work, workers, None), nprocs=workers)
    else:
        _run_together(work, workers)


def _run_together(work: Work, workers: int) -> None:
    with tempfile.TemporaryDirectory() as meeting_place:
        rendezvous = f"file://{meeting_place}/rendezvous"
        multiprocessing.spawn(_start, (work, workers, rendezvous), nprocs=workers)


class Run(ABC):
    """One worker's share of a training."""

    def __init__(self, plan: TrainingPlan, rank: int, *, folder: Path, total_steps: int) -> None:
        self.plan = plan
        self.rank = rank
        self.folder = folder
        self.total_steps = total_steps
        self.step = 0

    @abstractmethod
    def take_step(self) -> dict[str, float]:
        """One forward, one backward, one update; returns the losses by name."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Everything that the steps change, as tensors and plain values."""

    @abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Go back to what get_state gave."""

    def go_on(self) -> Iterator[tuple[int, int, str]]:
        """Take the steps that are left; save and log on the way."""
        self._resume()
        yield self.step, self.total_steps, ""
        while self.step < self.total_steps:
            losses = self.take_step()
            self.step += 1
            if self.rank == 0:
                self._keep(losses)
            shown = "  ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            yield self.step, self.total_steps, shown

    def _keep(self, losses: dict[str, float]) -> None:
        if self.step % self.plan.save_every_steps == 0 or self.step == self.total_steps:
            self.save()
        if self.step % self.plan.log_every_steps == 0:
            entry = {"time": round(time.time(), 1), "step": self.step}
            entry |= {name: round(loss, 4) for name, loss in losses.items()}
            with (self.folder / LOG_NAME).open("a") as file:
                file.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """Replace the saved state in one move."""
        partial = (self.folder / STATE_NAME).with_suffix(".partial")
        progress = {"step": self.step, "total_steps": self.total_steps}
        torch.save(progress | self.get_state(), partial)
        partial.replace(self.folder / STATE_NAME)

    def _resume(self) -> None:
        """Go on where the saved state ends, if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STATE_NAME
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            self.set_state(state)


def read_progress(folder: Path) -> tuple[int, int]:
    """Of a run's last saved state: the steps that were taken, and all that were wanted."""
    state = torch.load(folder / STATE_NAME, weights_only=True)
    return state["step"], state["total_steps"]


def update(
    optimizer: torch.optim.Optimizer,
    loss: torch.Tensor,
    *,
    learning_rate: float,
    gradient_norm: float,
    buffers: Sequence[torch.Tensor] = (),
) -> None:
    """Follow the workers' mean gradient of a loss, cut to a norm; buffers become their mean too."""
    parameters: list[torch.nn.Parameter] = []
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
        parameters += group["params"]
    optimizer.zero_grad(set_to_none=False)
    loss.backward()
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    average([*gradients, *buffers])
    torch.nn.utils.clip_grad_norm_(parameters, gradient_norm)
    optimizer.step()


def make_optimizer(parameters: list[torch.nn.Parameter], weight_decay: float) -> torch.optim.AdamW:
    """AdamW; only matrices and kernels decay, not gains and biases."""
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    vectors = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def average(tensors: list[torch.Tensor]) -> None:
    """Average over the workers in place, in one message."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    pieces = flat.split([tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def _start(rank: int, work: Work, workers: int, rendezvous: str | None) -> None:
    if rendezvous is None:
        _work_and_show(work, rank)
        return
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=workers)
    _work_and_show(work, rank)
    dist.destroy_process_group()


def _work_and_show(work: Work, rank: int) -> None:
    torch.set_num_threads(1)
    columns = (
        TextColumn("[progress.description]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=rank != 0) as progress:
        task = progress.add_task("")
        for done, total, shown in work(rank):
            progress.update(task, completed=done, total=total, description=shown)
