"""What a step runs on, and in which number formats."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from dataclasses import dataclass

import torch

from stt_service.engine.errors import UnsuitableCheckpoint
from stt_service.engine.step.linear import Storage


@dataclass(frozen=True)
class Numbers:
    """In which formats the language model is loaded and computes, and how its linear layers and
    Mimi's keep their weights. Mimi is float32 always: its codes are decided by distances."""

    loaded: torch.dtype
    computed: torch.dtype
    lm: Storage
    mimi: Storage


def choose_device(device: str) -> torch.device:
    """`auto` is the first GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsuitableCheckpoint(f"device {device} was asked for, but torch finds no CUDA device")
    _, _, number = device.partition(":")
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UnsuitableCheckpoint(f"device {device} was asked for, but the last is cuda:{last}")
    return torch.device(device)


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, float16 on those that do not (T4), float32 on CPU."""
    if device.type != "cuda":
        return torch.float32
    # Emulated bfloat16 runs, slowly, on a T4.
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


def choose_numbers(device: torch.device, weights: str, slots: int) -> Numbers:
    """`weights` is auto, float32, bfloat16 or int8; all but auto are for a CPU."""
    if device.type == "cuda":
        if weights != "auto":
            raise UnsuitableCheckpoint(f"{weights} weights are for a CPU; leave the GPU its own")
        dtype = choose_dtype(device)
        return Numbers(dtype, dtype, Storage.PLAIN, Storage.PLAIN)
    if weights == "bfloat16":
        return Numbers(torch.bfloat16, torch.bfloat16, Storage.PACKED, Storage.PACKED)
    if weights == "int8":
        if "fbgemm" not in torch.backends.quantized.supported_engines:
            raise UnsuitableCheckpoint("int8 weights need an x86 CPU; choose bfloat16 or float32")
        torch.backends.quantized.engine = "fbgemm"
        return Numbers(torch.bfloat16, torch.float32, Storage.INT8, Storage.PACKED)
    # For one row MKL is faster; Mimi has two, as its transformer has two positions in a frame.
    lm = Storage.PACKED if slots > 1 else Storage.PLAIN
    return Numbers(torch.float32, torch.float32, lm, Storage.PACKED)
