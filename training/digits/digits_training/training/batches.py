"""Batches: windows of sound, what the model should say, and what it is told that it said before."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from dataclasses import dataclass

import numpy as np
import torch

from digits_training.training.spectrum import SpectrumVarier
from digits_training.training.targets import IntArray, Targets, TextIds
from digits_training.training.windows import Windows

_FORGOTTEN_PIECES = 0.04
_INVENTED_PIECES = 0.004


@dataclass(frozen=True)
class Batch:
    """Tensors for one step of the training."""

    spectra: torch.Tensor  # float32 [batch, channels, steps]
    text_history: torch.Tensor  # int64 [batch, frames]: what the model is told that it said before
    text: torch.Tensor  # int64 [batch, frames]
    pauses: torch.Tensor  # int64 [batch, heads, frames]
    states: torch.Tensor  # int64 [batch, frames]

    def share(self, rank: int, workers: int) -> "Batch":
        """One worker's part of it."""
        return Batch(**{name: tensor[rank::workers] for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class BatchMaker:
    """Makes batches; the same state of the generator makes the same batch."""

    ids: TextIds
    initial_text_id: int

    def draw(
        self, rng: np.random.Generator, windows: Windows, size: int, varier: SpectrumVarier
    ) -> Batch:
        """That many windows, no window twice, each varied."""
        rows = rng.choice(len(windows), size, replace=False)
        spectra = torch.from_numpy(windows.spectra[rows].astype(np.float32))
        return self.make(rng, varier.vary(rng, spectra), windows.targets.take(rows))

    def make(self, rng: np.random.Generator, spectra: torch.Tensor, targets: Targets) -> Batch:
        """Spectra with their targets."""
        return Batch(
            spectra=spectra,
            text_history=torch.from_numpy(self._tell_history(rng, targets.text)),
            text=torch.from_numpy(targets.text),
            pauses=torch.from_numpy(targets.pauses),
            states=torch.from_numpy(targets.states),
        )

    def _tell_history(self, rng: np.random.Generator, text: IntArray) -> IntArray:
        """Shift the text by one step, with the kind of mistakes that the model makes itself."""
        told = text.copy()
        spoken = (told != self.ids.padding) & (rng.random(told.shape) < _FORGOTTEN_PIECES)
        told[spoken] = self.ids.padding
        invented = rng.random(told.shape) < _INVENTED_PIECES
        told[invented] = rng.choice(
            [*self.ids.pieces.values(), self.ids.end_of_padding], int(invented.sum())
        )
        first = np.full((len(told), 1), self.initial_text_id)
        return np.concatenate([first, told[:, :-1]], axis=1)
