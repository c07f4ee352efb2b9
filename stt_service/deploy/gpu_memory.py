"""Whether a model and its slots fit into a GPU, known before anything is built. Pure: no torch."""

from dataclasses import dataclass

from stt_service.config import EngineConfig
from stt_service.deploy.gpus import GPUS
from stt_service.process.environment import InvalidSetting

# Of cuBLAS's workspaces, the graphs themselves and the allocator's rounding.
MARGIN = 0.05


@dataclass(frozen=True)
class ModelMemory:
    """Bytes on a GPU that computes in 16 bits: all weights at their loading, and what each slot
    takes for its state and in a step."""

    weights: int
    slot: int

    def count(self, slots: int) -> int:
        return int((self.weights + slots * self.slot) * (1 + MARGIN))


# By checkpoint. Of the shapes in stt_service.bench.shapes; a test builds them and counts.
MEMORY = {
    "kyutai/stt-1b-en_fr-candle": ModelMemory(weights=2_363_000_000, slot=110_474_280),
    "kyutai/stt-2.6b-en": ModelMemory(weights=5_619_000_000, slot=159_626_280),
}


def check_fits(model: str, slots: int, gpu: str) -> None:
    """Raise InvalidSetting if a known model does not fit with so many slots. Of another, the server
    finds out when it starts."""
    memory = MEMORY.get(EngineConfig(model).checkpoint)
    if memory is None:
        return
    free_gib = GPUS[gpu].free_gib
    free = free_gib * 2**30
    if memory.count(slots) > free:
        most = int((free / (1 + MARGIN) - memory.weights) // memory.slot)
        raise InvalidSetting(
            f"BATCH_SIZE {slots} of {model} needs {memory.count(slots) / 2**30:.0f} GiB of GPU "
            f"memory, and KYUTAI_GPU {gpu} has {free_gib}: at most {most}"
        )
