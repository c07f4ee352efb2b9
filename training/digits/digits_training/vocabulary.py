"""The words that the embedded model knows, and the grid of time that it works on."""

from importlib import resources

import numpy as np

SAMPLE_RATE_HERTZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE_HERTZ
DELAY_SECONDS = 0.5
"""How far the model's text runs behind its audio: `stt_config.audio_delay_seconds`."""

PAUSE_LENGTHS_SECONDS = (0.5, 1.0, 2.0, 3.0)
"""What the four voice activity heads predict: a pause at least this long has begun."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_HELD_OUT_EVERY = 5

_ONSETS = (
    *("", "b", "bl", "br", "ch", "cl", "cr", "d", "dr", "f", "fl", "fr", "g", "gl", "gr", "h", "j"),
    *("k", "l", "m", "n", "p", "pl", "pr", "qu", "r", "s", "sh", "sk", "sl", "sn", "sp", "st", "t"),
    *("th", "tr", "v", "w", "z"),
)
_NUCLEI = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "oa", "oo", "ou", "oi", "au", "er", "ar")
_CODAS = (
    *(
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "b",
        "ck",
        "d",
        "f",
        "ft",
        "g",
        "l",
        "ld",
        "m",
        "mp",
        "n",
        "nd",
        "ng",
        "nk",
        "nt",
    ),
    *("p", "r", "s", "sh", "st", "t", "th", "x", "z"),
)
_SOUND_LIKE_DIGITS = frozenset(
    [
        "too",
        "twoo",
        "tou",
        "wun",
        "thee",
        "three",
        "for",
        "foar",
        "four",
        "faur",
        "six",
        "ait",
        "ate",
    ]
)


def read_other_words() -> tuple[list[str], list[str]]:
    """Words that are no digits and must not be heard as such: (for training, for evaluation)."""
    text = resources.files("digits_training").joinpath("other_words.txt").read_text("utf-8")
    words = text.split()
    held_out = words[::_HELD_OUT_EVERY]
    return [word for word in words if word not in set(held_out)], held_out


def invent_words(rng: np.random.Generator, count: int) -> list[str]:
    """Words that nobody knows, of one to three syllables: what is no digit has no end."""
    return [
        "".join(_invent_syllable(rng) for _ in range(rng.integers(1, 3, endpoint=True)))
        for _ in range(count)
    ]


def _invent_syllable(rng: np.random.Generator) -> str:
    while True:
        syllable = "".join(str(rng.choice(sounds)) for sounds in (_ONSETS, _NUCLEI, _CODAS))
        if syllable not in _SOUND_LIKE_DIGITS:
            return syllable
