"""Linear layers, by how their weights are kept.

At few slots a step of a large model takes as long as reading its weights. Measured with a matrix of
11264 by 2048 (92 MB in float32), one thread with AVX-512, ms at 1 / 8 / 32 rows (2026-11-28):
float32 by MKL 4.7 / 21.7 / 33, packed by oneDNN 6.4 / 6.8 / 16.5; bfloat16 as stock moshi has it
4.4 / 5.1 / 10.4, packed 3.2 / 3.8 / 8.3; int8 1.1 / 1.3 / 4.6.
"""

# torch is typed in part only, and what it calls private is all there is to ask for VNNI.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateUsage=false

from dataclasses import dataclass
from enum import Enum
from typing import Any, cast

import torch

from stt_service.engine.step.transformer import Linear

SMALLEST_PACKED = 1 << 18
"""Weights; of fewer, MKL's product is the fastest, and its call the cheapest."""
INT8_MAX = 127


class Storage(Enum):
    """How the weights of large layers are kept."""

    PLAIN = "plain"
    PACKED = "packed"
    INT8 = "int8"


def make_linear(
    weight: torch.Tensor, bias: torch.Tensor | None = None, storage: Storage = Storage.PLAIN
) -> Linear:
    """weight: [outputs, inputs]."""
    if storage is Storage.INT8:
        linear = make_int8(weight)
    elif storage is Storage.PACKED and weight.numel() >= SMALLEST_PACKED:
        linear = Packed(torch.ops.mkldnn._reorder_linear_weight(weight, 1))
    else:
        # Transposed once: torch's own linear layer does it at each call.
        linear = Plain(weight.t().contiguous())
    return linear if bias is None else Biased(linear, bias)


@dataclass(frozen=True)
class Plain:
    matrix: torch.Tensor  # [inputs, outputs]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, self.matrix)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        sum.addmm_(x, self.matrix)


@dataclass(frozen=True)
class Packed:
    """In the order in which oneDNN's kernels read it. Only on CPUs."""

    weight: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.ops.mkldnn._linear_pointwise(x, self.weight, None, "none", [], "")
        return cast(torch.Tensor, y)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        sum.add_(self(x))


@dataclass(frozen=True)
class Int8:
    """Weights in int8, with a scale for each output, and inputs too, with a scale for each row.

    Each row is brought into [-1, 1] first: torch's dynamic layers have one scale for all rows, so
    that a session's words would depend on its neighbours. Only on x86 CPUs.
    """

    weight: Any
    nbytes: int
    input_scale: float
    input_zero: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        largest = x.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny)
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x / largest, self.input_scale, self.input_zero, self.weight
        )
        return cast(torch.Tensor, y).mul_(largest)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        sum.add_(self(x))


def make_int8(weight: torch.Tensor) -> Int8:
    weight = weight.float()
    scales = weight.abs().amax(dim=1).div_(INT8_MAX).clamp_(min=torch.finfo(torch.float32).tiny)
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    quantized = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    # Without VNNI, sums of two products saturate at 16 bits unless inputs have only seven.
    most = INT8_MAX if torch.cpu._is_vnni_supported() else INT8_MAX // 2
    packed = torch.ops.quantized.linear_prepack(quantized, None)
    return Int8(packed, nbytes=weight.numel(), input_scale=1 / most, input_zero=most + 1)


@dataclass(frozen=True)
class Biased:
    linear: Linear
    bias: torch.Tensor  # [outputs]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).add_(self.bias)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        self.linear.add_to(sum, x)
        sum.add_(self.bias)
