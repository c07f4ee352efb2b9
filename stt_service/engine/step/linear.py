"""Linear layers in the number formats that a step may compute in."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from dataclasses import dataclass

import torch

from stt_service.engine.step.transformer import Linear


@dataclass(frozen=True)
class Plain:
    """Weights as they are, transposed once: torch's own linear layer does it at each call."""

    matrix: torch.Tensor  # [inputs, outputs]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, self.matrix)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        sum.addmm_(x, self.matrix)


@dataclass(frozen=True)
class Biased:
    linear: Linear
    bias: torch.Tensor  # [outputs]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x).add_(self.bias)

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        self.linear.add_to(sum, x)
        sum.add_(self.bias)


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None = None) -> Linear:
    """weight: [outputs, inputs]."""
    linear = Plain(weight.t().contiguous())
    return linear if bias is None else Biased(linear, bias)
