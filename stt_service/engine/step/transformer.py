"""Mimi's transformer and the language model's: one function for both.

T is the number of positions in a frame: 2 in Mimi, 1 in the language model. Activations are
[slots * T, dim], so that every linear layer is one matrix product. Plain functions of few calls:
at one slot a step's time is mostly what it takes to call torch.
"""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F

Function = Callable[[torch.Tensor], torch.Tensor]
"""[rows, numbers] → [rows, numbers]: a norm or an activation."""


class Linear(Protocol):
    """A linear layer."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, inputs] → [rows, outputs]."""
        ...

    def add_to(self, sum: torch.Tensor, x: torch.Tensor) -> None:
        """Add the layer's outputs for `x` to `sum`, in place."""
        ...


@dataclass(frozen=True)
class Layer:
    """A layer's parts; `expand`, `activate` and `contract` are its feed-forward block.

    The outputs of `qkv` are [heads, 3, head_dim]: a head's query, key and value side by side.
    """

    norm_1: Function
    qkv: Linear
    out: Linear
    norm_2: Function
    expand: Linear
    activate: Function
    contract: Linear


@dataclass(frozen=True)
class Transformer:
    """A stack of layers. A position attends to the last `context` positions, itself among them."""

    layers: tuple[Layer, ...]
    heads: int
    head_dim: int
    context: int
    per_frame: int  # positions, T
    dtype: torch.dtype
    frequencies: torch.Tensor  # float32 [head_dim / 2], radians a position


class Ring(NamedTuple):
    """Views of a layer's keys and values; position p is at p % context."""

    key_rows: torch.Tensor  # [slots * heads * context, head_dim]
    value_rows: torch.Tensor  # the same
    keys: torch.Tensor  # [slots * heads, head_dim, context]
    values: torch.Tensor  # [slots * heads, context, head_dim]


@dataclass(frozen=True)
class Rings:
    """The rings of some slots in all layers, and the numbers that find the way in them."""

    layers: tuple[Ring, ...]
    steps: torch.Tensor  # int64 [T, 1], from 0
    places: torch.Tensor  # int64 [context], from 0
    starts: torch.Tensor  # int64 [slots, 1, heads], each ring's first row
    one: torch.Tensor
    hidden: torch.Tensor  # -inf
    seen: torch.Tensor  # 0


def view_rings(transformer: Transformer, kv: torch.Tensor) -> Rings:
    """kv: [layers, 2, slots, heads, context, head_dim], keys and values."""
    _, _, slots, heads, context, _ = kv.shape
    keys, values = kv.unbind(dim=1)
    count = partial(torch.arange, device=kv.device)
    return Rings(
        layers=tuple(
            map(
                Ring,
                keys.flatten(1, 3),
                values.flatten(1, 3),
                keys.flatten(1, 2).mT,
                values.flatten(1, 2),
            )
        ),
        steps=count(transformer.per_frame).unsqueeze(1),
        places=count(context),
        starts=count(0, slots * heads * context, context).view(slots, 1, heads),
        one=torch.ones((), device=kv.device),
        hidden=kv.new_full((), -torch.inf),
        seen=kv.new_zeros(()),
    )


@dataclass(frozen=True)
class Places:
    """Where a step's positions are: made once a step, used in every layer."""

    rotation: torch.Tensor  # complex64 [slots * T, 1, 1, head_dim / 2]
    rows: torch.Tensor  # int64 [slots * T * heads], of a ring
    bias: torch.Tensor  # [slots * heads, T, filled]: 0 where a position may look, -inf elsewhere


def find_places(
    transformer: Transformer, rings: Rings, position: torch.Tensor, filled: int
) -> Places:
    """`position`: [slots, 1], in frames. No ring may hold more than `filled` positions."""
    context = transformer.context
    now = (position * transformer.per_frame).view(-1, 1, 1, 1) + rings.steps  # [slots, 1, T, 1]
    rows = (now % context).view(len(position), -1, 1) + rings.starts
    angles = now.view(-1, 1, 1, 1) * transformer.frequencies
    # The newest position is written before anybody looks. Going back from it around the ring
    # tells which position each place holds; below zero: none yet.
    newest = now[:, :, -1:]
    held = newest - (newest - rings.places[:filled]) % context  # [slots, 1, 1, filled]
    bias = torch.where((held < 0) | (held > now), rings.hidden, rings.seen)
    return Places(
        rotation=torch.polar(rings.one, angles),
        rows=rows.view(-1),
        bias=bias.expand(-1, transformer.heads, -1, -1).reshape(-1, *bias.shape[2:]),
    )


def run(transformer: Transformer, x: torch.Tensor, rings: Rings, at: Places) -> torch.Tensor:
    """x: [slots * T, dim], overwritten → the same. The rings take up the step's positions."""
    for layer, ring in zip(transformer.layers, rings.layers, strict=True):
        layer.out.add_to(x, attend(transformer, layer.qkv(layer.norm_1(x)), ring, at))
        layer.contract.add_to(x, layer.activate(layer.expand(layer.norm_2(x))))
    return x


def attend(transformer: Transformer, qkv: torch.Tensor, ring: Ring, at: Places) -> torch.Tensor:
    """qkv: [slots * T, heads * 3 * head_dim] → [slots * T, heads * head_dim]."""
    heads, head_dim, per_frame = transformer.heads, transformer.head_dim, transformer.per_frame
    rotate(qkv.view(-1, heads, 3, head_dim)[:, :, :2], at.rotation)
    rows = qkv.view(-1, 3 * head_dim)  # [slots * T * heads, …]
    ring.key_rows.index_copy_(0, at.rows, rows[:, head_dim : 2 * head_dim])
    ring.value_rows.index_copy_(0, at.rows, rows[:, 2 * head_dim :])
    query = rows[:, :head_dim]
    if per_frame == 1:
        query = query.unsqueeze(1)
    else:
        query = query.unflatten(0, (-1, per_frame, heads)).transpose(1, 2).flatten(0, 1)
    filled = at.bias.shape[2]  # query: [slots * heads, T, head_dim]
    scores = torch.baddbmm(at.bias, query, ring.keys[:, :, :filled], alpha=head_dim**-0.5)
    seen = torch.bmm(scores.softmax(2), ring.values[:, :filled])  # [slots * heads, T, head_dim]
    if per_frame > 1:
        seen = seen.unflatten(0, (-1, heads)).transpose(1, 2)
    return seen.reshape(len(qkv), -1)


def rotate(x: torch.Tensor, rotation: torch.Tensor) -> None:
    """Rotary positions, in place: pairs of numbers are turned as complex ones.

    x: [rows, heads, 2, head_dim], queries and keys; rotation: [rows, 1, 1, head_dim / 2].
    """
    pairs = *x.shape[:-1], -1, 2
    if x.dtype == torch.float32:
        torch.view_as_complex(x.view(pairs)).mul_(rotation)
    else:
        turned = torch.view_as_complex(x.float().view(pairs)) * rotation
        x.copy_(torch.view_as_real(turned).flatten(-2))


def gate(x: torch.Tensor) -> torch.Tensor:
    """SiLU gating: [rows, 2 * hidden] → [rows, hidden]."""
    hidden = x.shape[1] // 2
    return F.silu(x[:, :hidden]).mul_(x[:, hidden:])
