"""On CUDA a step is one captured graph: the host copies in, starts it, and copies out."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import torch

from stt_service.engine.model import BoolArray, FloatArray, IntArray
from stt_service.engine.step.forward import Network, Reach, step
from stt_service.engine.step.state import Rows, State

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Rows of a graph. A step needs at most half as many more than it uses."""
EAGER_STEPS = 2
"""Libraries choose and load their kernels at the first calls, which cannot be captured."""


def choose_sizes(slots: int) -> list[int]:
    """The sizes of which there are graphs; the largest is all slots."""
    return [*(size for size in SIZES if size < slots), slots]


class GraphRunner:
    """One graph for each size, all in one pool of memory, captured in the thread that uses them.

    A graph reads its rows of `_input` and writes those of `_output`, and the state's. Its rings are
    attended to whole: how much of them is filled is not known when it is captured.
    """

    def __init__(self, network: Network, state: State) -> None:
        self._network = network
        self._state = state
        slots, device = len(state.position), state.position.device
        columns = 1 + network.mimi.frame_samples  # Whether the slot is active, and its audio.
        self._input = torch.zeros(slots, columns, device=device)
        self._output = torch.zeros(slots, network.columns, device=device)
        self._host_input = torch.zeros(slots, columns, pin_memory=True)
        self._host_output = torch.zeros(slots, network.columns, pin_memory=True)
        # A graph finds what it reads by address, so all of it is kept.
        self._rows: dict[int, Rows] = {}
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def warm_up(self) -> None:
        """Capture all graphs; while nobody is active, no slot moves on."""
        pool = torch.cuda.graph_pool_handle()
        # The largest first: the others fit into its memory.
        for size in reversed(choose_sizes(len(self._input))):
            self._rows[size] = self._state.rows(size)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(EAGER_STEPS):
                    self._step(size)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads of the process may use CUDA meanwhile.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                self._step(size)
            self._graphs[size] = graph
        torch.cuda.synchronize()

    def choose_rows(self, needed: int) -> int:
        return next(size for size in choose_sizes(len(self._input)) if size >= needed)

    def run(self, pcm: FloatArray, active: BoolArray, frames: IntArray) -> FloatArray:
        rows = len(pcm)
        host_input = self._host_input.numpy()
        host_input[:rows, 0] = active
        host_input[:rows, 1:] = pcm
        self._input[:rows].copy_(self._host_input[:rows], non_blocking=True)
        self._graphs[rows].replay()
        self._host_output[:rows].copy_(self._output[:rows], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._host_output[:rows].numpy()

    def _step(self, size: int) -> None:
        rows = self._input[:size]
        pcm, active = rows[:, 1:], rows[:, :1] > 0
        reach = Reach.whole(self._network)
        self._output[:size].copy_(step(self._network, pcm, active, self._rows[size], reach))
