"""Windows for the training: composed, rendered and labelled, each from its own seed."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from digits_training.sound.acoustics import Acoustics
from digits_training.sound.clips import ClipBank
from digits_training.sound.composition import Composer
from digits_training.sound.noise import make_noises
from digits_training.sound.shifting import name_speaker
from digits_training.training.stages import Stage
from digits_training.training.targets import Targets, TextIds, make_targets
from digits_training.vocabulary import FRAME_SECONDS


@dataclass(frozen=True)
class Example:
    """One window: its sound, what the model should say about it, and who is heard in it."""

    audio: torch.Tensor  # float32 [1, samples]
    targets: Targets
    voices: frozenset[str]


class ExampleMaker:
    """Makes the windows of a stage; the same numbers always make the same windows."""

    def __init__(self, bank: ClipBank, ids: TextIds, stage: Stage, *, seed: int) -> None:
        self._seed = seed
        self._ids = ids
        self._composer = Composer(bank, stage.habits)
        # No human murmurs in the noise, so that a speaker can still be left out afterwards.
        synthetic = bank.filter(lambda clip: not clip.human)
        rng = np.random.default_rng(seed)
        noises = make_noises(rng, synthetic, repeats=stage.noise_repeats)
        self._acoustics = Acoustics(noises, stage.conditions)

    def make(self, number: int, *, count: int, frames: int) -> list[Example]:
        """The windows of this number, so many of them, each of so many frames."""
        rng = np.random.default_rng([self._seed, number])
        utterances = [self._composer.compose(rng, frames * FRAME_SECONDS) for _ in range(count)]
        return [
            Example(
                audio=torch.from_numpy(self._acoustics.render(rng, utterance))[None],
                targets=make_targets(utterance, self._ids),
                voices=frozenset(name_speaker(word.clip.voice) for word in utterance.words),
            )
            for utterance in utterances
        ]


def stack_audio(examples: Sequence[Example]) -> torch.Tensor:
    """The sound of windows of one length: float32 [batch, 1, samples]."""
    return torch.stack([example.audio for example in examples])
