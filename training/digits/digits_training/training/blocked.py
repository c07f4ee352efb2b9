"""Mimi's convolutions as matrix products over blocks of samples: the same numbers, sooner.

The encoder's first layers have few channels and 24,000 samples a second, for which the
convolutions of torch's CPU library are slow, most of all backwards. Here a few neighbouring
outputs form one row: all of them are one product of the samples that they share and a banded
matrix, which is what a CPU does best.
"""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportIncompatibleMethodOverride=false, reportUnknownParameterType=false

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from moshi.modules.conv import StreamingConv1d
from moshi.modules.seanet import SEANetEncoder, SEANetResnetBlock
from torch import nn

_NARROWEST_ROW = 16
"""Floats: products of narrower rows leave the processor's vector units idle."""
_CACHED_FLOATS = 65_536
"""Floats that stay in a core's second cache through all passes of an activation."""


def encode(encoder: SEANetEncoder, audio: torch.Tensor) -> torch.Tensor:
    """What `encoder(audio)` gives without streaming, [batch, 1, samples] → [batch, C, steps].

    The samples must fill whole steps of the encoder.
    """
    x = audio.transpose(1, 2)
    for module in encoder.model:
        x = _apply(module, x)
    return x.transpose(1, 2)


def _apply(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """x: [batch, samples, channels]."""
    if isinstance(module, StreamingConv1d) and _is_plain(module):
        convolution = module.conv.conv
        assert convolution.bias is not None, "moshi's convolutions have a bias"
        return convolve(x, convolution.weight, convolution.bias, convolution.stride[0])
    if isinstance(module, nn.ELU):
        return cast(torch.Tensor, _Elu.apply(x))
    if isinstance(module, SEANetResnetBlock):
        branch = x
        for inner in module.block:
            branch = _apply(inner, branch)
        return x + branch
    raise TypeError(f"the encoder holds a layer that cannot be blocked: {module}")


def _is_plain(module: StreamingConv1d) -> bool:
    convolution = module.conv.conv
    return (
        convolution.dilation == (1,) and convolution.groups == 1 and module.pad_mode == "constant"
    )


def convolve(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, stride: int
) -> torch.Tensor:
    """A causal convolution, zeros before the first sample.

    x: [batch, samples, C]; weight: [O, C, kernel] → [batch, samples / stride, O].
    """
    batch, samples, channels = x.shape
    outputs, _, kernel = weight.shape
    past = kernel - stride
    per_row = _choose_outputs_per_row(samples // stride, stride, past, channels, outputs)
    span = per_row * stride
    band = _make_band(weight, per_row, stride)
    rows = x.reshape(batch, samples // span, span * channels)
    now, before = band[past * channels :], band[: past * channels]
    result = cast(torch.Tensor, _BlockedProduct.apply(rows, now, before, bias.repeat(per_row)))
    return result.view(batch, samples // stride, outputs)


def _choose_outputs_per_row(steps: int, stride: int, past: int, channels: int, outputs: int) -> int:
    """As few as make both rows wide enough, and hold all of the past that the next row needs."""
    fewest = max(
        math.ceil(past / stride),
        math.ceil(_NARROWEST_ROW / (stride * channels)),
        math.ceil(_NARROWEST_ROW / outputs),
    )
    return next(count for count in range(fewest, steps + 1) if steps % count == 0)


def _make_band(weight: torch.Tensor, per_row: int, stride: int) -> torch.Tensor:
    """[O, C, kernel] → [window * C, per_row * O]; in column group p, p strides on."""
    outputs, channels, kernel = weight.shape
    taps = weight.permute(2, 1, 0)
    last = (per_row - 1) * stride
    columns = [
        F.pad(taps, (0, 0, 0, 0, place * stride, last - place * stride)) for place in range(per_row)
    ]
    return torch.stack(columns, dim=2).reshape((last + kernel) * channels, per_row * outputs)


class _BlockedProduct(torch.autograd.Function):
    """rows [batch, n, span] · now [span, N] + (end of the row before) · before [past, N] + bias."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, now: torch.Tensor, before: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(rows, now, before)
        result = rows.new_empty(*rows.shape[:2], now.shape[1])
        for one, out in zip(rows, result, strict=True):
            torch.addmm(bias, one, now, out=out)
            if len(before):
                out[1:].addmm_(one[:-1, -len(before) :], before)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, now, before = ctx.saved_tensors
        gradient = gradient.contiguous()
        to_now, to_before = torch.zeros_like(now), torch.zeros_like(before)
        for one, part in zip(rows, gradient, strict=True):
            to_now.addmm_(one.T, part)
            if len(before):
                to_before.addmm_(one[:-1, -len(before) :].T, part[1:])
        to_rows = None
        if ctx.needs_input_grad[0]:
            to_rows = torch.empty_like(rows)
            for one, part in zip(to_rows, gradient, strict=True):
                torch.mm(part, now.T, out=one)
                if len(before):
                    one[:-1, -len(before) :].addmm_(part[1:], before.T)
        return to_rows, to_now, to_before, gradient.sum(dim=(0, 1))


class _Elu(torch.autograd.Function):
    """max(x, exp(min(x, 0)) - 1): torch's own takes twice as long for its exp(x) - 1."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        result = torch.empty_like(x)
        for part, out in zip(
            x.view(-1).split(_CACHED_FLOATS), result.view(-1).split(_CACHED_FLOATS), strict=True
        ):
            torch.clamp_max(part, 0, out=out).exp_().sub_(1)
            torch.maximum(part, out, out=out)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(gradient.contiguous(), 1.0, 1.0, 1.0, True, result)
