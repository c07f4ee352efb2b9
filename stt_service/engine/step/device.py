"""What a step runs on, and in which number format."""

import torch

from stt_service.engine.errors import UnsuitableCheckpoint


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
