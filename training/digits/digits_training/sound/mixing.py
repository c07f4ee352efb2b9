"""Whom the neural network speaks as: mixed women and men, some of whom no training hears."""

from dataclasses import dataclass

import numpy as np

from digits_training.sound.neural import BASE_VOICES, MAN, WOMEN, Style

NEURAL_VOICE_PREFIX = "kokoro-"
TRAINING_VOICES = 100
HELD_OUT_VOICES_OF_EACH = 6
"""Women, and as many men."""
_SEED_OF_STYLES = 24
_NEAREST = 0.2
"""Shares of the timbre in which a voice of the training differs from every one that is held out,
at least, summed up."""
_MANLY = {"timbre": (0.55, 0.9), "prosody": (0.5, 1.1)}
"""The man's share in a man; above one, the women are subtracted: a lower voice than his."""
_WOMANLY = {"timbre": (0.0, 0.3), "prosody": (0.0, 0.25)}
_CONCENTRATION = 0.6
"""Of the Dirichlet distribution of the women's shares: below one, few of them prevail."""


@dataclass(frozen=True)
class MixedVoice:
    """A voice that is nobody's."""

    voice: str
    style: Style


def list_held_out_voices() -> list[MixedVoice]:
    """Women first, then men: of each some base voices as they are, and mixtures."""
    rng = np.random.default_rng([_SEED_OF_STYLES, 1])
    women = [_make_pure("jf_nezumi"), _make_pure("jf_tebukuro")]
    men = [_make_pure(MAN)]
    women += [draw_style(rng, man=False) for _ in range(HELD_OUT_VOICES_OF_EACH - len(women))]
    men += [draw_style(rng, man=True) for _ in range(HELD_OUT_VOICES_OF_EACH - len(men))]
    return [
        MixedVoice(f"{NEURAL_VOICE_PREFIX}held-out-{sex}-{number}", style)
        for sex, styles in (("woman", women), ("man", men))
        for number, style in enumerate(styles, 1)
    ]


def list_training_voices() -> list[MixedVoice]:
    """Women and men by turns, none of them much like one who is held out."""
    rng = np.random.default_rng([_SEED_OF_STYLES, 2])
    held_out = np.array([voice.style.timbre for voice in list_held_out_voices()])
    voices: list[MixedVoice] = []
    while len(voices) < TRAINING_VOICES:
        style = draw_style(rng, man=len(voices) % 2 == 1)
        if np.abs(held_out - np.array(style.timbre)).sum(axis=1).min() >= _NEAREST:
            voices.append(MixedVoice(f"{NEURAL_VOICE_PREFIX}{len(voices):03}", style))
    return voices


def draw_style(rng: np.random.Generator, *, man: bool) -> Style:
    """Timbre and prosody are mixed apart, but of the same sex."""
    shares = _MANLY if man else _WOMANLY
    return Style(*(_draw_shares(rng, shares[half]) for half in ("timbre", "prosody")))


def _draw_shares(rng: np.random.Generator, bounds: tuple[float, float]) -> tuple[float, ...]:
    man = float(rng.uniform(*bounds))
    women = (1 - man) * rng.dirichlet([_CONCENTRATION] * len(WOMEN))
    return (*map(float, women), man)


def _make_pure(name: str) -> Style:
    shares = tuple(float(base == name) for base in BASE_VOICES)
    return Style(shares, shares)
