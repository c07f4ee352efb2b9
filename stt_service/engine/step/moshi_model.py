"""A checkpoint that the engine can step: our own forward step, with one row of state per slot."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from functools import cache
from typing import Protocol

import numpy as np
import torch

from stt_service.engine.checkpoint_weights import check_weights
from stt_service.engine.model import (
    BoolArray,
    FloatArray,
    IntArray,
    ModelInfo,
    StepOutput,
    StepPlan,
)
from stt_service.engine.step.checkpoint import find_checkpoint, read_info
from stt_service.engine.step.device import choose_device, choose_numbers
from stt_service.engine.step.forward import Network, Reach, step
from stt_service.engine.step.graphs import GraphRunner
from stt_service.engine.step.memory import check_memory, count_free_bytes
from stt_service.engine.step.no_init import NoInit
from stt_service.engine.step.state import Kept, State
from stt_service.engine.step.weights import read_lm, read_mimi


class Runner(Protocol):
    """Runs a step of the first rows, on some device."""

    def warm_up(self) -> None:
        """Pay for what only first steps cost. Nobody hears of it."""
        ...

    def choose_rows(self, needed: int) -> int:
        """How many rows a step runs that needs the first `needed`."""
        ...

    def run(self, pcm: FloatArray, active: BoolArray, frames: IntArray) -> FloatArray:
        """pcm: [rows, samples]; active: [rows]; frames: [rows], since the reset. See `step`."""
        ...


class MoshiModel:
    """A checkpoint in moshi's layout with `slots` rows of streaming state.

    `source` is a Hugging Face repository id or a local directory with the same files; `device` is
    auto, cpu, cuda or cuda:N; `threads` bounds torch's CPU threads; `weights` is auto, float32,
    bfloat16 or int8, and all but auto are for CPUs. To be used by the thread that made it. Raises
    UnsuitableCheckpoint and NotEnoughMemory.

    A step costs what the highest active slot makes it cost: rows above it are not computed.
    """

    @torch.inference_mode()
    def __init__(
        self,
        source: str,
        slots: int,
        device: str = "auto",
        threads: int | None = None,
        weights: str = "auto",
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        chosen = choose_device(device)
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        numbers = choose_numbers(chosen, weights, slots)
        checkpoint = find_checkpoint(source)
        for path in (checkpoint.moshi_weights, checkpoint.mimi_weights):
            check_weights(path)
        mimi = checkpoint.get_mimi(device=chosen)
        with NoInit():
            lm = checkpoint.get_moshi(device=chosen, dtype=numbers.loaded)
        self._info = read_info(checkpoint, mimi, lm)
        self.network = Network(
            read_mimi(mimi, numbers.mimi),
            read_lm(lm, numbers.computed, numbers.lm),
        )
        del mimi, lm  # With them goes what the step does not use, like Mimi's decoder.
        check_memory(self.network, slots, chosen, count_free_bytes(chosen))
        self.state = self.network.make_state(slots, chosen)
        self._slots = slots
        self._frames = np.zeros(slots, dtype=np.int64)
        # What slots come back to, with the frames that they had heard.
        self._kept: dict[int, tuple[int, Kept]] = {}
        # In frames: a rest, the tail, and what it may be extended by.
        self._longest_detour = 1 + self._info.tail_steps + self._info.extension_steps
        self._runner: Runner
        if chosen.type == "cuda":
            self._runner = GraphRunner(self.network, self.state)
        else:
            self._runner = CpuRunner(self.network, self.state)

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def slots(self) -> int:
        return self._slots

    @torch.inference_mode()
    def age(self, frames: int) -> None:
        """Have every slot count so many frames, as in a session of that length. For measuring."""
        self._frames[:] = frames
        self.state.position.fill_(frames)

    @torch.inference_mode()
    def warm_up(self) -> None:
        self._runner.warm_up()
        # On CUDA the first copies to the host and back load kernels, as a step's first calls do.
        full = max(self.state.mimi.context, self.state.lm.context)
        self.state.put_back(0, self.state.keep(0, full, self._longest_detour))

    @torch.inference_mode()
    def step(self, plan: StepPlan) -> StepOutput:
        self._turn_slots(plan)
        needed = int(np.flatnonzero(plan.active)[-1]) + 1 if plan.active.any() else 0
        output = np.zeros((self._slots, self.network.columns), dtype=np.float32)
        if needed:
            some = slice(self._runner.choose_rows(needed))
            output[some] = self._runner.run(
                plan.pcm[some, 0], plan.active[some], self._frames[some]
            )
        self._frames += plan.active
        # float32 holds every text id exactly.
        return StepOutput(
            text_ids=output[:, 0].astype(np.int64),
            probabilities=output[:, 1],
            pauses=output[:, 2:],
        )

    def _turn_slots(self, plan: StepPlan) -> None:
        for slot in np.flatnonzero(plan.reset):
            self.state.reset(int(slot))
            self._frames[slot] = 0
            self._kept.pop(int(slot), None)
        for slot in plan.returning:
            self._frames[slot], kept = self._kept.pop(slot)
            self.state.put_back(slot, kept)
        for slot in plan.leaving:
            frames = int(self._frames[slot])
            self._kept[slot] = frames, self.state.keep(slot, frames, self._longest_detour)


class CpuRunner:
    """Runs just the rows that are needed, and lets them attend to just what they hold."""

    def __init__(self, network: Network, state: State) -> None:
        self._network = network
        self._view_rows = cache(state.rows)
        self._slots = len(state.position)

    def warm_up(self) -> None:
        for rows in {1, self._slots}:
            pcm = np.zeros((rows, self._network.mimi.frame_samples), dtype=np.float32)
            frames = np.zeros(rows, dtype=np.int64)
            self.run(pcm, frames > 0, frames)

    def choose_rows(self, needed: int) -> int:
        return needed

    def run(self, pcm: FloatArray, active: BoolArray, frames: IntArray) -> FloatArray:
        longest = int((frames * active).max()) + 1  # This frame, too.
        return step(
            self._network,
            torch.from_numpy(pcm),
            torch.from_numpy(active).unsqueeze(1),
            self._view_rows(len(pcm)),
            Reach.after(self._network, longest),
        ).numpy()
