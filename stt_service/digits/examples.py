"""Batches for the training: composed, rendered and labelled, each from its own seed."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from stt_service.digits.acoustics import Acoustics
from stt_service.digits.clips import ClipBank, FloatArray
from stt_service.digits.composition import Composer
from stt_service.digits.noise import make_noises
from stt_service.digits.stages import ALL_WORDS, Stage
from stt_service.digits.targets import TextIds, make_targets
from stt_service.digits.vocabulary import FRAME_SECONDS

IntArray: TypeAlias = npt.NDArray[np.int64]

_FORGOTTEN_PIECES = 0.04
_INVENTED_PIECES = 0.004


@dataclass(frozen=True)
class Batch:
    """Tensors for one step of the training."""

    audio: torch.Tensor  # float32 [batch, 1, samples]
    text_history: torch.Tensor  # int64 [batch, frames]: what the model is told that it said before
    text: torch.Tensor  # int64 [batch, frames]
    pauses: torch.Tensor  # int64 [batch, heads, frames]
    states: torch.Tensor  # int64 [batch, frames]


class ExampleMaker:
    """Makes batches; the same numbers always make the same batch."""

    def __init__(self, bank: ClipBank, ids: TextIds, initial_text_id: int, *, seed: int) -> None:
        self._seed = seed
        self._ids = ids
        self._initial_text_id = initial_text_id
        self._bank = bank
        self._makers: dict[Stage, tuple[Composer, Acoustics]] = {}
        self._noises: dict[int, list[FloatArray]] = {}

    def make_batch(
        self, number: int, rank: int, *, size: int, frames: int, stage: Stage = ALL_WORDS
    ) -> Batch:
        """The batch of this number for one worker (rank)."""
        rng = np.random.default_rng([self._seed, rank, number])
        composer, acoustics = self._get_makers(stage)
        utterances = [composer.compose(rng, frames * FRAME_SECONDS) for _ in range(size)]
        targets = [make_targets(utterance, self._ids) for utterance in utterances]
        audio = np.stack([acoustics.render(rng, utterance) for utterance in utterances])
        text = np.stack([target.text for target in targets])
        return Batch(
            audio=torch.from_numpy(audio)[:, None],
            text_history=torch.from_numpy(self._tell_history(rng, text)),
            text=torch.from_numpy(text),
            pauses=torch.from_numpy(np.stack([target.pauses for target in targets])),
            states=torch.from_numpy(np.stack([target.states for target in targets])),
        )

    def _get_makers(self, stage: Stage) -> tuple[Composer, Acoustics]:
        if stage not in self._makers:
            self._makers[stage] = (
                Composer(self._bank, stage.habits),
                Acoustics(self._get_noises(stage.noise_repeats), stage.conditions),
            )
        return self._makers[stage]

    def _get_noises(self, repeats: int) -> list[FloatArray]:
        """Made when a stage first needs them, for they take seconds; stages share them."""
        if repeats not in self._noises:
            rng = np.random.default_rng(self._seed)
            self._noises[repeats] = make_noises(rng, self._bank, repeats=repeats)
        return self._noises[repeats]

    def _tell_history(self, rng: np.random.Generator, text: IntArray) -> IntArray:
        """Shift the text by one step, with the kind of mistakes that the model makes itself."""
        told = text.copy()
        spoken = (told != self._ids.padding) & (rng.random(told.shape) < _FORGOTTEN_PIECES)
        told[spoken] = self._ids.padding
        invented = rng.random(told.shape) < _INVENTED_PIECES
        told[invented] = rng.choice(
            [*self._ids.pieces.values(), self._ids.end_of_padding], int(invented.sum())
        )
        first = np.full((len(told), 1), self._initial_text_id)
        return np.concatenate([first, told[:, :-1]], axis=1)
