"""Streaming convolutions as one matrix product over a kept window.

Samples are rows and channels columns, so that the samples which a few neighbouring outputs share
lie in one piece: they become a row of a matrix, and the kernel a banded matrix. Mimi's first
layers have few channels, for which torch's convolutions are slow.
"""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from dataclasses import dataclass

import torch

from stt_service.engine.step.linear import Storage, make_linear
from stt_service.engine.step.transformer import Linear

NARROWEST_ROW = 16
"""Floats: products of narrower rows leave a CPU's vector units idle."""


@dataclass(frozen=True)
class Convolution:
    """A causal convolution that makes `per_row` outputs, of `stride` samples each, in one row."""

    product: Linear  # [rows, (past + stride * per_row) * inputs] → [rows, per_row * outputs]
    bias: torch.Tensor  # [per_row * outputs]
    stride: int
    per_row: int
    past: int  # samples before its own that the first output needs
    window: int  # which of the slots' windows keeps them
    replicate: bool  # a stream's first sample is its own past; else there are zeros before it


def make_convolution(
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *,
    stride: int,
    dilation: int,
    samples: int,
    window: int,
    replicate: bool,
    storage: Storage,
) -> Convolution:
    """weight: [outputs, inputs, kernel]; `samples` are the inputs of a frame."""
    outputs, inputs, kernel = weight.shape
    reach = (kernel - 1) * dilation + 1
    per_row = 1
    while per_row * outputs < NARROWEST_ROW and samples // stride % (2 * per_row) == 0:
        per_row *= 2
    past, span = reach - stride, stride * per_row
    band = weight.new_zeros(per_row, outputs, past + span, inputs)
    for output in range(per_row):
        first = output * stride
        band[output, :, first : first + reach : dilation] = weight.transpose(1, 2)
    matrix = band.reshape(per_row * outputs, -1)
    if bias is None:
        bias = weight.new_zeros(outputs)
    return Convolution(
        product=make_linear(matrix, storage=storage),
        bias=bias.repeat(per_row),
        stride=stride,
        per_row=per_row,
        past=past,
        window=window,
        replicate=replicate,
    )


@dataclass(frozen=True)
class Pasts:
    """What the convolutions keep of the frames before."""

    windows: tuple[torch.Tensor, ...]  # of each convolution, [slots, past, inputs]
    active: torch.Tensor  # bool [slots, 1, 1]: whose windows move on
    begins: torch.Tensor  # bool [slots, 1, 1]: whose stream begins


def convolve(x: torch.Tensor, convolution: Convolution, pasts: Pasts) -> torch.Tensor:
    """x: [slots, samples, inputs] → [slots, samples / stride, outputs]."""
    slots, samples, inputs = x.shape
    past, span = convolution.past, convolution.stride * convolution.per_row
    if past:
        window = before = pasts.windows[convolution.window]
        if convolution.replicate:
            before = torch.where(pasts.begins, x[:, :1], window)
        x = torch.cat([before, x], dim=1)
        torch.where(pasts.active, x[:, -past:], window, out=window)
        shape = slots, samples // span, (past + span) * inputs
        strides = (past + samples) * inputs, span * inputs, 1
        rows = x.as_strided(shape, strides).reshape(-1, shape[2])  # Neighbours overlap: a copy.
    else:
        rows = x.view(-1, span * inputs)
    y = convolution.product(rows).add_(convolution.bias)
    return y.view(slots, samples // convolution.stride, -1)


def add_pointwise(sum: torch.Tensor, x: torch.Tensor, convolution: Convolution) -> None:
    """Add a convolution of kernel 1 of `x` to `sum`, in place; both [slots, samples, channels]."""
    rows = sum.view(-1, len(convolution.bias))
    convolution.product.add_to(rows, x.view(len(rows), -1))
    rows.add_(convolution.bias)
