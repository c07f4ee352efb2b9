"""What the slots need of a device's memory, counted before it is asked for."""

from pathlib import Path

import torch

from stt_service.engine.errors import NotEnoughMemory
from stt_service.engine.step.forward import Network

# Numbers that a convolution's inputs and outputs are at once, in the widest layer: the input, its
# activation, both with their past, the rows of the product (three samples each), and the branch.
WIDEST = 8
# What libraries, graphs and the allocator's rounding take.
MARGIN = 0.05


def count_bytes_a_slot(network: Network, device: torch.device) -> int:
    """Its state, and on a GPU what a step works with; a CPU works on a few slots at a time."""
    state = network.make_state(1, "meta").nbytes
    if device.type != "cuda":
        return state
    channels = len(network.mimi.first.bias) // network.mimi.first.per_row
    return state + WIDEST * 4 * network.mimi.frame_samples * channels


def check_memory(network: Network, slots: int, device: torch.device, free: int | None) -> None:
    """Raise NotEnoughMemory if so many slots do not fit into the bytes that are free, if they are
    known."""
    if free is None:
        return
    a_slot = count_bytes_a_slot(network, device) * (1 + MARGIN)
    needed = int(slots * a_slot)
    if needed > free:
        kind = "GPU memory" if device.type == "cuda" else "memory"
        raise NotEnoughMemory(slots, needed, free, int(free // a_slot), kind)


def count_free_bytes(device: torch.device) -> int | None:
    """What is left on the device; None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free
    return min(filter(None, (_read_available(), _read_container())), default=None)


def _read_available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if "MemAvailable" in line), None)


def _read_container() -> int | None:
    """What a container may still use, by its second version of control groups."""
    folder = Path("/sys/fs/cgroup")
    try:
        most, used = ((folder / f"memory.{name}").read_text() for name in ("max", "current"))
    except OSError:
        return None
    return None if most.strip() == "max" else max(1, int(most) - int(used))
