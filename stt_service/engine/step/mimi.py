"""Mimi's encoder: one frame of audio of every slot → codes."""

# torch is typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from stt_service.engine.step.convolution import Convolution, Pasts, add_pointwise, convolve
from stt_service.engine.step.state import Rows
from stt_service.engine.step.transformer import Transformer, find_places, run

CACHED_SAMPLES = 8 * 1920
"""Samples whose activations stay in a CPU core's second cache through all convolutions."""


@dataclass(frozen=True)
class Stage:
    """Residual blocks of two convolutions each, the second of kernel 1, and then one that makes the
    signal shorter."""

    residuals: tuple[tuple[Convolution, Convolution], ...]
    shorten: Convolution


class Codebook(NamedTuple):
    entries: torch.Tensor  # [card, codebook dim]
    doubled: torch.Tensor  # [codebook dim, card], -2 * entries
    norms: torch.Tensor  # [card], squared lengths of the entries


@dataclass(frozen=True)
class Codebooks:
    """One residual quantizer: what is left after each codebook goes to the next."""

    project: torch.Tensor  # [dim, codebook dim]
    books: tuple[Codebook, ...]


@dataclass(frozen=True)
class Mimi:
    """The encoder's weights, in the order of their use."""

    frame_samples: int
    first: Convolution
    stages: tuple[Stage, ...]
    last: Convolution
    transformer: Transformer
    downsample: Convolution
    quantizers: tuple[Codebooks, ...]
    window_shapes: tuple[tuple[int, int], ...]  # (past, inputs) of the convolutions' windows


def encode(
    mimi: Mimi, pcm: torch.Tensor, active: torch.Tensor, state: Rows, filled: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """pcm: [slots, samples]; active: [slots, 1] → codes [slots, codebooks], and the latents that
    they stand for, [slots, dim]."""
    pasts = Pasts(state.windows, active.unsqueeze(2), (state.position == 0).unsqueeze(2))
    x = convolve_all(mimi, pcm.unsqueeze(2), pasts)  # [slots, T, dim]
    places = find_places(mimi.transformer, state.mimi, state.position, filled)
    y = run(mimi.transformer, x.view(-1, x.shape[2]), state.mimi, places)
    latents = convolve(y.view(x.shape), mimi.downsample, pasts).view(len(pcm), -1)
    codes = [code for books in mimi.quantizers for code in quantize(latents, books)]
    return torch.cat(codes).view(len(codes), -1).t(), latents


def convolve_all(mimi: Mimi, pcm: torch.Tensor, pasts: Pasts) -> torch.Tensor:
    """pcm: [slots, samples, 1] → [slots, T, dim]. On a CPU a few slots at a time."""
    slots, samples, _ = pcm.shape
    together = max(1, CACHED_SAMPLES // samples) if pcm.device.type == "cpu" else slots
    if slots <= together:
        return convolve_some(mimi, pcm, pasts)
    parts: list[torch.Tensor] = []
    for first in range(0, slots, together):
        some = slice(first, first + together)
        windows = tuple(window[some] for window in pasts.windows)
        some_pasts = Pasts(windows, pasts.active[some], pasts.begins[some])
        parts.append(convolve_some(mimi, pcm[some], some_pasts))
    return torch.cat(parts)


def convolve_some(mimi: Mimi, pcm: torch.Tensor, pasts: Pasts) -> torch.Tensor:
    """SEANet's encoder."""
    x = convolve(pcm, mimi.first, pasts)
    for stage in mimi.stages:
        for narrow, widen in stage.residuals:
            branch = convolve(F.elu(x), narrow, pasts)
            add_pointwise(x, F.elu_(branch), widen)
        x = convolve(F.elu_(x), stage.shorten, pasts)
    return convolve(F.elu_(x), mimi.last, pasts)


def quantize(latents: torch.Tensor, books: Codebooks) -> list[torch.Tensor]:
    """latents: [slots, dim] → of each codebook, int64 [slots], the nearest entries."""
    rest = torch.mm(latents, books.project)
    codes: list[torch.Tensor] = []
    for entries, doubled, norms in books.books:
        # |rest - entry|² less |rest|², which is the same for all entries.
        code = torch.mm(rest, doubled).add_(norms).argmin(dim=1)
        codes.append(code)
        rest = rest - entries[code]
    return codes
