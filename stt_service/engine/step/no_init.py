"""Making modules whose weights are loaded afterwards."""

# Much of torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch.nn import init
from torch.overrides import TorchFunctionMode

_FILLS: frozenset[Callable[..., Any]] = frozenset(
    (
        *(init.constant_, init.kaiming_uniform_, init.normal_, init.uniform_),
        # No mode intercepts the other initializers; they are made of these.
        *(torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.erfinv_),
        *(torch.Tensor.add_, torch.Tensor.clamp_, torch.Tensor.mul_),
    )
)


class NoInit(TorchFunctionMode):
    """While it is active, tensors on torch's meta device are not filled with first values.

    moshi builds its language model there before it loads the weights. Such tensors have no data,
    so a fill changes nothing, but torch imports torch._dynamo and sympy for it: 1.0 of the 3.0 CPU
    seconds in which the embedded model is loaded, imports included (2.0 without, 2026-11-28).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLS:
            tensor = cast(torch.Tensor, args[0] if args else kwargs["tensor"])
            if tensor.is_meta:
                return tensor
        return func(*args, **kwargs)
