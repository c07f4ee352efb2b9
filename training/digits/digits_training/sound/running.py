"""Running speech of the neural voices: strings in one breath, and the words that they hold.

Between the words of a string are some hundredths of a second, whatever the punctuation. A string is
used twice: as phrases, with their words as they run into each other, and cut into single words.
"""

# ruff: noqa: RUF001 (the phonetic alphabet is what this is about)

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from digits_training.errors import PlanError
from digits_training.sound.clips import Clip, Part, cut_at
from digits_training.sound.ear import Ear, mark_understood
from digits_training.sound.mixing import MixedVoice
from digits_training.sound.neural import DIGIT_PHONEMES, NeuralSpeaker, Speech
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ

WORDS_PER_STRING = 10
PHRASE_WORDS = (2, 6)
SPEED = (0.75, 1.3)
BETWEEN = (" ", " ", ", ", "; ", " — ")
_KOKORO_FOR_ESPEAK = (
    *(("aɪ", "I"), ("aʊ", "W"), ("dʒ", "ʤ"), ("eɪ", "A"), ("tʃ", "ʧ"), ("ɔɪ", "Y"), ("oʊ", "O")),
    *(("ɚ", "əɹ"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("n̩", "ən"), ("l̩", "əl"), ("ɐ", "ə"), ("ː", "")),
    *(("r", "ɹ"), ("x", "k"), ("ʔ", "t"), ("g", "ɡ"), ("e", "A")),
)
"""In this order; most of it after `EspeakFallback` of misaki, which makes Kokoro's phonemes."""


@dataclass
class Tally:
    """Digits that were said, and those of them that the independent ear understood."""

    said: int = 0
    understood: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.said + other.said, self.understood + other.understood)


@dataclass
class Takes:
    """What one voice said."""

    clips: list[Clip] = field(default_factory=list[Clip])
    tally: Tally = field(default_factory=Tally)

    def add(self, others: "Takes") -> None:
        """Add what the same voice said besides."""
        self.clips += others.clips
        self.tally += others.tally


@dataclass(frozen=True)
class Booth:
    """Where voices are recorded: who speaks there, and who listens."""

    speaker: NeuralSpeaker
    ear: Ear

    def record_for_training(
        self, voice: MixedVoice, rng: np.random.Generator, strings: int
    ) -> Takes:
        """Strings of ten digits as phrases and as single words, less what the ear did not
        understand; a phrase is left out whole for one word of it."""
        takes = Takes()
        for _ in range(strings):
            words, speech = say_digits(self.speaker, voice, rng)
            understood = self._listen(words, speech, takes.tally)
            for first, stop in draw_phrases(rng, len(words)):
                if all(understood[first:stop]):
                    takes.clips.append(cut_phrase(voice.voice, words, speech, first, stop))
            takes.clips += [
                cut_phrase(voice.voice, words, speech, number, number + 1)
                for number in range(len(words))
                if understood[number]
            ]
        return takes

    def record_for_evaluation(
        self, voice: MixedVoice, rng: np.random.Generator, strings: int
    ) -> Takes:
        """Strings of ten digits as phrases, and every digit said alone; the ear only counts."""
        takes = Takes()
        for _ in range(strings):
            words, speech = say_digits(self.speaker, voice, rng)
            self._listen(words, speech, takes.tally)
            takes.clips += [
                cut_phrase(voice.voice, words, speech, first, stop)
                for first, stop in draw_phrases(rng, len(words))
            ]
        takes.add(self.record_alone(voice, rng, only_understood=False))
        return takes

    def record_alone(
        self, voice: MixedVoice, rng: np.random.Generator, *, only_understood: bool
    ) -> Takes:
        """Every digit alone, slower than in a string; those that the ear understood, or all."""
        takes = Takes()
        for word in DIGITS:
            speech = _say(self.speaker, voice, rng, [DIGIT_PHONEMES[word]])
            (understood,) = self._listen([word], speech, takes.tally)
            if understood or not only_understood:
                takes.clips.append(cut_phrase(voice.voice, [word], speech, 0, 1))
        return takes

    def record_other_words(
        self, voice: MixedVoice, rng: np.random.Generator, words: Sequence[str]
    ) -> list[Clip]:
        """Words that are no digits, cut one by one."""
        speech = _say(self.speaker, voice, rng, spell(words))
        return [
            cut_phrase(voice.voice, words, speech, number, number + 1)
            for number in range(len(words))
        ]

    def _listen(self, words: Sequence[str], speech: Speech, tally: Tally) -> list[bool]:
        understood = mark_understood(words, self.ear.hear(speech.samples))
        tally.said += len(words)
        tally.understood += sum(understood)
        return understood


def say_digits(
    speaker: NeuralSpeaker, voice: MixedVoice, rng: np.random.Generator
) -> tuple[list[str], Speech]:
    """A string of ten digits, each once or more or never."""
    words = [DIGITS[int(rng.integers(len(DIGITS)))] for _ in range(WORDS_PER_STRING)]
    phonemes = [DIGIT_PHONEMES[word] for word in words]
    return words, _say(speaker, voice, rng, phonemes)


def draw_phrases(rng: np.random.Generator, words: int) -> list[tuple[int, int]]:
    """Cut a string of so many words into phrases: (first, stop)."""
    bounds = [0]
    while words - bounds[-1] > PHRASE_WORDS[1]:
        longest = min(PHRASE_WORDS[1], words - bounds[-1] - PHRASE_WORDS[0])
        bounds.append(bounds[-1] + int(rng.integers(PHRASE_WORDS[0], longest, endpoint=True)))
    return list(zip(bounds, [*bounds[1:], words], strict=True))


def cut_phrase(voice: str, words: Sequence[str], speech: Speech, first: int, stop: int) -> Clip:
    """The words from first to stop, cut in the middle of the gaps around them."""
    bounds_s = speech.bounds_s
    seconds = len(speech.samples) / SAMPLE_RATE_HERTZ
    before_s = bounds_s[first - 1][1] if first else 0.0
    after_s = bounds_s[stop][0] if stop < len(words) else seconds
    return cut_at(
        voice,
        [Part(words[number], *bounds_s[number]) for number in range(first, stop)],
        samples=speech.samples,
        start_s=(before_s + bounds_s[first][0]) / 2,
        stop_s=(bounds_s[stop - 1][1] + after_s) / 2,
    )


def spell(words: Sequence[str]) -> list[str]:
    """Kokoro's phonemes of English words, by espeak-ng.

    Raises PlanError when the program is missing or does not tell the words apart.
    """
    command = ["espeak-ng", "-q", "--ipa", "-v", "en-us", ". ".join(words)]
    try:
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise PlanError("cannot find espeak-ng; run: apt-get install espeak-ng") from error
    spelled = run.stdout.split()
    if len(spelled) != len(words):
        raise PlanError(f"espeak-ng made {len(spelled)} words of {len(words)}: {' '.join(words)}")
    return [_translate(word) for word in spelled]


def _translate(phonemes: str) -> str:
    for espeak, kokoro in _KOKORO_FOR_ESPEAK:
        phonemes = phonemes.replace(espeak, kokoro)
    return phonemes


def _say(
    speaker: NeuralSpeaker, voice: MixedVoice, rng: np.random.Generator, phonemes: Sequence[str]
) -> Speech:
    between = BETWEEN[rng.integers(len(BETWEEN))]
    return speaker.say(phonemes, voice.style, speed=float(rng.uniform(*SPEED)), between=between)
