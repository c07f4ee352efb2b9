"""Whether a model and its slots fit into a GPU, known before anything is built. Pure: no torch."""

from dataclasses import dataclass

from stt_service.process.environment import InvalidSetting

# What CUDA leaves to a program, rounded down. The nominal sizes: https://modal.com/docs/guide/gpu
FREE_GIB = {
    "T4": 14,
    "L4": 22,
    "A10": 22,
    "L40S": 44,
    "A100": 39,
    "A100-40GB": 39,
    "A100-80GB": 79,
    "RTX-PRO-6000": 94,
    "H100": 79,
    "H100!": 79,
    "H200": 139,
    "B200": 178,
}
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


# Of the shapes in stt_service.bench.shapes; a test builds them and counts.
_ONE_B = ModelMemory(weights=2_363_000_000, slot=110_474_280)
MEMORY = {
    "kyutai/stt-1b-en_fr": _ONE_B,
    "kyutai/stt-1b-en_fr-candle": _ONE_B,
    "kyutai/stt-2.6b-en": ModelMemory(weights=5_619_000_000, slot=159_626_280),
}


def check_fits(model: str, slots: int, gpu: str) -> None:
    """Raise InvalidSetting if a known model does not fit with so many slots. Of another, the server
    finds out when it starts."""
    memory = MEMORY.get(model)
    if memory is None:
        return
    free = FREE_GIB[gpu] * 2**30
    if memory.count(slots) > free:
        most = int((free / (1 + MARGIN) - memory.weights) // memory.slot)
        raise InvalidSetting(
            f"BATCH_SIZE {slots} of {model} needs {memory.count(slots) / 2**30:.0f} GiB of GPU "
            f"memory, and KYUTAI_GPU {gpu} has {FREE_GIB[gpu]}: at most {most}"
        )
