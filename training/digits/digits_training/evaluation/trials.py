"""What the evaluation listens to: strings of held-out recordings, other words, and no words at all.

None of it was heard in training: recordings 0 to 4 of each speaker and digit, or all recordings of
a speaker who was left out; words of a list of their own, noise and music from another seed. Every
maker is deterministic.
"""

from dataclasses import dataclass, field

import numpy as np

from digits_training.sound.acoustics import lay_words
from digits_training.sound.clips import Clip, ClipBank, FloatArray
from digits_training.sound.composition import Spoken, Utterance, lay_clip
from digits_training.sound.noise import make_coloured, make_music, make_noises
from digits_training.vocabulary import DIGITS, FRAME_SAMPLES, SAMPLE_RATE_HERTZ

WORDS_PER_STRING = 6
TAKES_OF_EACH_RECORDING = 4
LEAD_IN_S = (0.2, 0.5)
GAP_S = (0.1, 0.35)
GAP_IN_TALK_S = (0.05, 0.35)
END_S = 0.4
WORDS_PER_TURN = (2, 5)
TURNS_PER_TALK = 3
HESITATION_SHARE = 0.25
HESITATION_S = (0.45, 0.95)
PAUSE_S = (2.2, 4.0)
FAINT_NOISE_DBFS = -60.0
WORDLESS_SECONDS = 60.0
ONSET_SECONDS = 3.0


@dataclass(frozen=True)
class TrueWord:
    """A word that was said, and when, in seconds of the trial's audio."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Trial:
    """One stream. `turns` groups the words: pauses lie between turns, not within."""

    name: str
    audio: FloatArray  # [samples] at 24 kHz
    turns: list[list[TrueWord]] = field(default_factory=list[list[TrueWord]])

    @property
    def words(self) -> list[TrueWord]:
        return [word for turn in self.turns for word in turn]


def make_digit_strings(
    bank: ClipBank,
    *,
    seed: int,
    takes: int = TAKES_OF_EACH_RECORDING,
    noise_dbfs: float | None = None,
    snr_db: float | None = None,
    noise_exponents: tuple[float, float] = (0, 1),
) -> list[Trial]:
    """Strings of six digits by one human each; recordings are heard `takes` times.

    What is left of a voice's last string is not heard.

    Between the words is exact silence, unless a level or a ratio of noise is given. Half of the
    noises are of one colour, half of the other; see make_coloured.
    """
    rng = np.random.default_rng(seed)
    noises = [make_coloured(rng, exponent) for exponent in noise_exponents]
    trials: list[Trial] = []
    for voice in bank.get_voices(human=True):
        digits = [clip for clip in bank.clips if clip.voice == voice and clip.word in DIGITS]
        order = np.concatenate([rng.permutation(len(digits)) for _ in range(takes)])
        for first in range(0, len(order) - WORDS_PER_STRING + 1, WORDS_PER_STRING):
            clips = [digits[int(index)] for index in order[first : first + WORDS_PER_STRING]]
            trial = lay_turns(rng, voice, [clips])
            noise = noises[len(trials) % 2]
            trials.append(add_noise(rng, trial, noise, noise_dbfs=noise_dbfs, snr_db=snr_db))
    return trials


def make_talks(
    bank: ClipBank, *, seed: int, count: int, hesitation_share: float = 0.0
) -> list[Trial]:
    """Turns of two to five digits, with pauses of 2.2 to 4 s between turns, in faint noise.

    That share of the gaps within a turn is so long that nothing tells it from a pause at first.
    """
    rng = np.random.default_rng(seed)
    noise = make_coloured(rng, 1)
    voices = bank.get_voices(human=True)
    trials: list[Trial] = []
    for number in range(count):
        voice = voices[number % len(voices)]
        digits = [clip for clip in bank.clips if clip.voice == voice and clip.word in DIGITS]
        turns = [
            [
                digits[rng.integers(len(digits))]
                for _ in range(rng.integers(*WORDS_PER_TURN, endpoint=True))
            ]
            for _ in range(TURNS_PER_TALK)
        ]
        trial = lay_turns(
            rng,
            voice,
            turns,
            gap_s=GAP_IN_TALK_S,
            hesitation_share=hesitation_share,
            end_s=PAUSE_S[1],
        )
        trials.append(add_noise(rng, trial, noise, noise_dbfs=FAINT_NOISE_DBFS))
    return trials


def make_other_words(bank: ClipBank, *, seed: int, count: int) -> list[Trial]:
    """Single words that are no digits and were not trained on, by synthetic voices."""
    rng = np.random.default_rng(seed)
    others = [clip for clip in bank.clips if clip.word not in DIGITS]
    chosen = [others[int(index)] for index in rng.choice(len(others), count, replace=False)]
    return [lay_turns(rng, clip.word, [[clip]]) for clip in chosen]


def make_wordless(bank: ClipBank, *, seed: int) -> list[Trial]:
    """Thirty minutes: ten of silence and faint noise, ten of noise of all kinds, ten of music."""
    rng = np.random.default_rng(seed)
    samples = int(WORDLESS_SECONDS * SAMPLE_RATE_HERTZ)
    noises = make_noises(rng, bank)
    trials: list[Trial] = []
    for number in range(10):
        faint = _loop(noises[number], samples, -90 + 4.0 * number)
        faint[_draw_mute(rng, samples)] = 0
        trials.append(Trial(f"silence {number}", faint))
        # One of each kind, the murmur of voices among them.
        noise = noises[number * len(noises) // 10]
        loud = _loop(noise, samples, -45 + 2.5 * number)
        trials.append(Trial(f"noise {number}", loud))
        music = _loop(make_music(rng), samples, -40 + 2.5 * number)
        trials.append(Trial(f"music {number}", music))
    return trials


def make_onsets(*, seed: int, count: int) -> list[Trial]:
    """Zero to ten frames of exact zeros, and then suddenly faint noise: how a stream begins."""
    rng = np.random.default_rng(seed)
    noises = [make_coloured(rng, exponent) for exponent in (0, 1, 2)]
    trials: list[Trial] = []
    for number in range(count):
        level_dbfs = float(rng.uniform(-80, -40))
        audio = _loop(noises[number % 3], int(ONSET_SECONDS * SAMPLE_RATE_HERTZ), level_dbfs)
        audio[: int(rng.integers(0, 11)) * FRAME_SAMPLES] = 0
        trials.append(Trial(f"onset {level_dbfs:.0f} dBFS", audio))
    return trials


def lay_turns(
    rng: np.random.Generator,
    name: str,
    turns: list[list[Clip]],
    *,
    gap_s: tuple[float, float] = GAP_S,
    hesitation_share: float = 0.0,
    end_s: float = END_S,
) -> Trial:
    """Lay clips one behind the other on exact silence."""
    now_s = float(rng.uniform(*LEAD_IN_S))
    spoken: list[Spoken] = []
    true_turns: list[list[TrueWord]] = []
    for clips in turns:
        true_turns.append([])
        for clip in clips:
            words = lay_clip(clip, now_s, speed=1.0, gain=1.0)
            spoken += words
            true_turns[-1] += [TrueWord(w.clip.word, w.start_s, w.end_s) for w in words]
            hesitates = rng.random() < hesitation_share
            now_s = words[-1].end_s + float(rng.uniform(*(HESITATION_S if hesitates else gap_s)))
        now_s = spoken[-1].end_s + float(rng.uniform(*PAUSE_S))
    seconds = spoken[-1].end_s + end_s
    return Trial(name, lay_words(Utterance(seconds, spoken, seconds)), true_turns)


def add_noise(
    rng: np.random.Generator,
    trial: Trial,
    noise: FloatArray,
    *,
    noise_dbfs: float | None = None,
    snr_db: float | None = None,
) -> Trial:
    """Add noise of a level, or of a ratio to the power of the words."""
    if snr_db is not None:
        words = [
            trial.audio[_to_samples(word.start_s) : _to_samples(word.end_s)] for word in trial.words
        ]
        power = float(np.mean(np.concatenate(words) ** 2))
        level = power**0.5 * 10 ** (-snr_db / 20)
    elif noise_dbfs is not None:
        level = 10 ** (noise_dbfs / 20)
    else:
        return trial
    moments = rng.integers(len(noise)) + np.arange(len(trial.audio))
    audio = trial.audio + noise.take(moments, mode="wrap") * np.float32(level)
    return Trial(trial.name, np.clip(audio, -1, 1).astype(np.float32), trial.turns)


def _draw_mute(rng: np.random.Generator, samples: int) -> slice:
    start = int(rng.integers(0, samples // 2))
    return slice(start, start + int(rng.integers(samples // 4)))


def _loop(noise: FloatArray, samples: int, level_dbfs: float) -> FloatArray:
    repeated = np.resize(noise, samples) * np.float32(10 ** (level_dbfs / 20))
    return np.clip(repeated, -1, 1)


def _to_samples(seconds: float) -> int:
    return int(seconds * SAMPLE_RATE_HERTZ)
