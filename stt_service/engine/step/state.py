"""Everything that the slots remember from step to step, in five tensors."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from stt_service.engine.step.transformer import Rings, Transformer, view_rings


@dataclass(frozen=True)
class Rows:
    """The first slots of a State, as a step uses them: views, not copies."""

    position: torch.Tensor  # int64 [slots, 1], frames since the reset
    token: torch.Tensor  # int64 [slots, 1], the last text id
    windows: tuple[torch.Tensor, ...]  # of each convolution, [slots, past, channels]
    mimi: Rings
    lm: Rings


@dataclass(frozen=True)
class Kept:
    """What one slot remembered, in the host's memory: rings only where they were to change."""

    rows: tuple[torch.Tensor, ...]  # of position, token and windows
    mimi_places: torch.Tensor  # int64 [places], of the ring
    mimi_kv: torch.Tensor  # [layers, 2, heads, places, head_dim]
    lm_places: torch.Tensor
    lm_kv: torch.Tensor


@dataclass(frozen=True)
class State:
    """Changed in place only, so that a captured CUDA graph keeps finding it.

    The keys and values of a layer are a ring: position p is at p % context. The row of a slot
    without a frame is written too, but only where its next frame writes before it reads.
    """

    mimi: Transformer
    lm: Transformer
    window_shapes: tuple[tuple[int, int], ...]  # (past, channels) of each convolution
    position: torch.Tensor  # int64 [slots, 1]
    token: torch.Tensor  # int64 [slots, 1]
    windows: torch.Tensor  # float32 [slots, floats], the last inputs of all convolutions
    mimi_kv: torch.Tensor  # [layers, 2, slots, heads, context, head_dim]
    lm_kv: torch.Tensor  # [layers, 2, slots, heads, context, head_dim]

    @classmethod
    def create(
        cls,
        mimi: Transformer,
        lm: Transformer,
        window_shapes: Sequence[tuple[int, int]],
        slots: int,
        device: torch.device | str,
    ) -> "State":
        """A state in which every slot is reset. On the device "meta" it takes no memory."""

        def make_kv(transformer: Transformer) -> torch.Tensor:
            layers, context = len(transformer.layers), transformer.context
            shape = layers, 2, slots, transformer.heads, context, transformer.head_dim
            return torch.zeros(shape, dtype=transformer.dtype, device=device)

        floats = sum(past * channels for past, channels in window_shapes)
        return cls(
            mimi=mimi,
            lm=lm,
            window_shapes=tuple(window_shapes),
            position=torch.zeros(slots, 1, dtype=torch.int64, device=device),
            token=torch.zeros(slots, 1, dtype=torch.int64, device=device),
            windows=torch.zeros(slots, floats, device=device),
            mimi_kv=make_kv(mimi),
            lm_kv=make_kv(lm),
        )

    def rows(self, slots: int) -> Rows:
        """The first `slots` rows."""
        sizes = [past * channels for past, channels in self.window_shapes]
        windows = self.windows[:slots].split(sizes, dim=1)
        return Rows(
            position=self.position[:slots],
            token=self.token[:slots],
            windows=tuple(
                window.unflatten(1, shape)
                for window, shape in zip(windows, self.window_shapes, strict=True)
            ),
            mimi=view_rings(self.mimi, self.mimi_kv[:, :, :slots]),
            lm=view_rings(self.lm, self.lm_kv[:, :, :slots]),
        )

    def reset(self, slot: int) -> None:
        """Zero a row. A mask alone would not do: zero times the NaN of an old value is NaN."""
        for tensor in self._small:
            tensor[slot].zero_()
        for tensor in (self.mimi_kv, self.lm_kv):
            tensor[:, :, slot].zero_()

    def keep(self, slot: int, frames: int, ahead: int) -> Kept:
        """What a slot remembers that has heard so many frames, before it hears up to `ahead`."""
        mimi_places = _find_places(self.mimi, frames, ahead)
        lm_places = _find_places(self.lm, frames, ahead)
        return Kept(
            rows=tuple(tensor[slot].to("cpu", copy=True) for tensor in self._small),
            mimi_places=mimi_places,
            mimi_kv=_read_places(self.mimi_kv, slot, mimi_places),
            lm_places=lm_places,
            lm_kv=_read_places(self.lm_kv, slot, lm_places),
        )

    def put_back(self, slot: int, kept: Kept) -> None:
        """Have the slot remember that again, and nothing since."""
        for tensor, row in zip(self._small, kept.rows, strict=True):
            tensor[slot].copy_(row)
        _write_places(self.mimi_kv, slot, kept.mimi_places, kept.mimi_kv)
        _write_places(self.lm_kv, slot, kept.lm_places, kept.lm_kv)

    @property
    def _small(self) -> tuple[torch.Tensor, ...]:
        return self.position, self.token, self.windows

    @property
    def nbytes(self) -> int:
        tensors = (*self._small, self.mimi_kv, self.lm_kv)
        return sum(tensor.nbytes for tensor in tensors)


def _find_places(transformer: Transformer, frames: int, ahead: int) -> torch.Tensor:
    """Where a ring takes the next `ahead` frames, and one more, because a step without a frame for
    the slot writes there too; but only where it holds something by then."""
    heard, context = frames * transformer.per_frame, transformer.context
    written = min((ahead + 1) * transformer.per_frame, context)
    unused = min(max(context - heard, 0), written)
    return (torch.arange(unused, written) + heard) % context


def _read_places(kv: torch.Tensor, slot: int, places: torch.Tensor) -> torch.Tensor:
    """[layers, 2, heads, places, head_dim], in the host's memory."""
    return kv[:, :, slot].index_select(3, places.to(kv.device)).cpu()


def _write_places(kv: torch.Tensor, slot: int, places: torch.Tensor, kept: torch.Tensor) -> None:
    if len(places):
        kv[:, :, slot].index_copy_(3, places.to(kv.device), kept.to(kv.device))
