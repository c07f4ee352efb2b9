"""Compose what is said: turns of words with short gaps, pauses between turns.

A window that ends in a pause knows how long that pause would have become, so the voice activity
heads learn a prediction from windows that are shorter than the pauses.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from digits_training.sound.clips import Clip, ClipBank
from digits_training.sound.mixing import NEURAL_VOICE_PREFIX
from digits_training.sound.shifting import is_shifted
from digits_training.vocabulary import DIGITS, SAMPLE_RATE_HERTZ


@dataclass(frozen=True)
class Spoken:
    """A clip laid into a window. Its sound lies in [start_s, end_s] of the window.

    What is `carried` is heard already: the clip of a word before it holds its sound.
    """

    clip: Clip
    start_s: float
    speed: float
    gain: float
    carried: bool = False

    @property
    def clip_start_s(self) -> float:
        """Where the first sample of the clip lies, a little before its sound."""
        return self.start_s - self.clip.onset_s / self.speed

    @property
    def end_s(self) -> float:
        return self.start_s + (self.clip.end_s - self.clip.onset_s) / self.speed


def lay_clip(clip: Clip, at_s: float, *, speed: float, gain: float) -> list[Spoken]:
    """The first word of a clip begins at_s; the others follow as they were said."""
    first = Spoken(clip, at_s, speed, gain)
    words = [first]
    for word, onset_s, end_s in clip.rest:
        part = replace(clip, word=word, onset_s=onset_s, end_s=end_s, rest=())
        start_s = first.clip_start_s + onset_s / speed
        words.append(Spoken(part, start_s, speed, gain, carried=True))
    return words


@dataclass(frozen=True)
class Utterance:
    """Words in a window of audio. After the last one nobody speaks until silent_until_s."""

    seconds: float
    words: list[Spoken]
    silent_until_s: float


@dataclass(frozen=True)
class Habits:
    """How often people do what. Shares are probabilities, pairs are uniform ranges."""

    human_share: float = 0.68
    shifted_share: float = 0.0
    """Of what people say: in a voice that is shifted to another throat."""
    neural_share: float = 0.0
    """Of what synthetic voices say: by neural ones. The rest is everybody's, theirs too."""
    speechless_share: float = 0.12
    mostly_other_words_share: float = 0.4
    other_words_among_mostly_others: float = 0.9
    other_word_share: float = 0.05
    reversed_digit_share: float = 0.02
    words_per_turn: tuple[int, int] = (1, 8)
    lead_in_s: tuple[float, float] = (0.0, 1.6)
    short_gap_s: tuple[float, float] = (0.03, 0.42)
    hesitation_share: float = 0.03
    hesitation_s: tuple[float, float] = (0.42, 0.95)
    short_pause_share: float = 0.1
    short_pause_s: tuple[float, float] = (1.0, 2.0)
    long_pause_s: tuple[float, float] = (2.0, 5.0)
    speed: tuple[float, float] = (0.8, 1.3)
    word_speed_spread: float = 0.06
    word_gain_db: float = 3.0
    change_voice_share: float = 0.3


@dataclass
class Composer:
    """Draws utterances from a bank of clips. The same generator state gives the same utterance."""

    bank: ClipBank
    habits: Habits = field(default_factory=Habits)

    def __post_init__(self) -> None:
        everybody = self.bank.get_voices(human=True)
        self._human = [voice for voice in everybody if not is_shifted(voice)]
        self._shifted = [voice for voice in everybody if is_shifted(voice)]
        self._synthetic = self.bank.get_voices(human=False)
        self._neural = [voice for voice in self._synthetic if voice.startswith(NEURAL_VOICE_PREFIX)]
        self._other = {
            voice: [
                clip
                for word, clips in self.bank.get_words(voice).items()
                if word not in DIGITS
                for clip in clips
            ]
            for voice in self._synthetic
        }
        self._with_others = [voice for voice, clips in self._other.items() if clips]

    def compose(self, rng: np.random.Generator, seconds: float) -> Utterance:
        """Fill a window of this length; a word that begins in it may be cut by its end."""
        habits = self.habits
        now_s = float(rng.uniform(*habits.lead_in_s))
        if rng.random() < habits.speechless_share:
            return Utterance(seconds, [], seconds + now_s)
        mostly_others = rng.random() < habits.mostly_other_words_share
        other_share = (
            habits.other_words_among_mostly_others if mostly_others else habits.other_word_share
        )
        voice, speed = self._draw_voice(rng, mostly_others), float(rng.uniform(*habits.speed))
        words: list[Spoken] = []
        while True:
            for _ in range(rng.integers(*habits.words_per_turn, endpoint=True)):
                words += self._speak(rng, voice, other_share, now_s, speed)
                gap_s = self._draw_gap(rng)
                now_s = words[-1].end_s + gap_s
                if now_s >= seconds:
                    break
            now_s = words[-1].end_s + self._draw_pause(rng) if now_s < seconds else now_s
            if now_s >= seconds:
                return Utterance(seconds, words, now_s)
            if rng.random() < habits.change_voice_share:
                voice, speed = (
                    self._draw_voice(rng, mostly_others),
                    float(rng.uniform(*habits.speed)),
                )

    def _speak(
        self, rng: np.random.Generator, voice: str, other_share: float, at_s: float, speed: float
    ) -> list[Spoken]:
        clip = self._draw_clip(rng, voice, other_share)
        spread = self.habits.word_speed_spread
        return lay_clip(
            clip,
            at_s,
            speed=speed * float(rng.uniform(1 - spread, 1 + spread)),
            gain=10 ** (float(rng.uniform(-1, 1)) * self.habits.word_gain_db / 20),
        )

    def _draw_voice(self, rng: np.random.Generator, mostly_others: bool) -> str:
        habits = self.habits
        human = rng.random() < habits.human_share * (0.5 if mostly_others else 1.0)
        if human and self._human:
            shifted = self._shifted and rng.random() < habits.shifted_share
            voices = self._shifted if shifted else self._human
        elif self._neural and rng.random() < habits.neural_share:
            voices = self._neural
        else:
            voices = self._synthetic or self._human
        return voices[rng.integers(len(voices))]

    def _draw_clip(self, rng: np.random.Generator, voice: str, other_share: float) -> Clip:
        if rng.random() < other_share and self._with_others:
            others = self._other.get(voice)
            if not others:
                others = self._other[self._with_others[rng.integers(len(self._with_others))]]
            return others[rng.integers(len(others))]
        digits = self.bank.get_words(voice)
        known = [word for word in DIGITS if word in digits]
        takes = digits[known[rng.integers(len(known))]]
        clip = takes[rng.integers(len(takes))]
        backwards = not clip.rest and rng.random() < self.habits.reversed_digit_share
        return reverse(clip) if backwards else clip

    def _draw_gap(self, rng: np.random.Generator) -> float:
        habits = self.habits
        hesitates = rng.random() < habits.hesitation_share
        return float(rng.uniform(*(habits.hesitation_s if hesitates else habits.short_gap_s)))

    def _draw_pause(self, rng: np.random.Generator) -> float:
        habits = self.habits
        short = rng.random() < habits.short_pause_share
        return float(rng.uniform(*(habits.short_pause_s if short else habits.long_pause_s)))


def reverse(clip: Clip) -> Clip:
    """A human sound that is no word: the clip played backwards."""
    seconds = clip.end_s + clip.onset_s
    return Clip(
        word=f"{clip.word} backwards",
        voice=clip.voice,
        human=clip.human,
        onset_s=clip.onset_s,
        end_s=clip.end_s,
        samples=clip.samples[: int(seconds * SAMPLE_RATE_HERTZ)][::-1],
    )
