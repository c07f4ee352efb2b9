"""The stages of a training: what sounds are like, digits, all words, much that is no speech."""

from dataclasses import dataclass, field, replace

from digits_training.sound.acoustics import Conditions
from digits_training.sound.composition import Habits


@dataclass(frozen=True)
class Stage:
    """What is heard for a part of the training."""

    habits: Habits = field(default_factory=Habits)
    conditions: Conditions = field(default_factory=Conditions)
    noise_repeats: int = 1
    """How many of each kind of noise; see make_noises."""
    padding_weight: float = 1.0
    """Of frames in which no text begins, in the loss; less makes the model bolder."""
    speech_weight: float = 1.0
    """Of frames in which somebody speaks, in the loss of the heads; with more they leave a pause
    sooner, in a frame that ends a few hundredths of a second after a word began."""
    shorter_gap_weight: float = 3.0
    """Of gaps that do not last as long as a head predicts. Calling one a pause is worse than
    calling a pause late: with this weight a head waits until a pause is three times as likely."""


PRETRAINING = Stage(Habits(mostly_other_words_share=0.5, short_pause_share=0.5))
"""What the encoder's convolutions learn the spectrum from."""

DIGITS_FIRST = Stage(
    Habits(
        human_share=0.6,
        mostly_other_words_share=0.22,
        other_words_among_mostly_others=0.7,
        words_per_turn=(2, 10),
        short_pause_share=0.35,
        change_voice_share=0.5,
    ),
    padding_weight=0.5,
)
"""Until the digits are told apart, many digits and few other words, and no fear of mistakes: a
model that hears many other words says nothing."""

ALL_WORDS = Stage(speech_weight=4.0)

MUCH_NOISE = Stage(
    Habits(speechless_share=0.35, mostly_other_words_share=0.6),
    Conditions(noise_snr_db=(0.0, 25.0), noise_floor_dbfs=(-85.0, -10.0)),
    noise_repeats=4,
    padding_weight=2.5,
    speech_weight=4.0,
)
"""Noise, music and murmur louder than in the stages before, and more of them than can be learnt by
heart, and most of the words no digits: what is left of digits that nobody said goes here."""

VOICES = Stage(
    Habits(
        human_share=0.5,
        shifted_share=0.3,
        neural_share=0.6,
        speechless_share=0.1,
        mostly_other_words_share=0.5,
        words_per_turn=(1, 5),
        change_voice_share=0.4,
    ),
    Conditions(narrow_band_share=0.45),
    noise_repeats=2,
    padding_weight=1.2,
    speech_weight=8.0,
    shorter_gap_weight=5.2,
)
"""When many new voices are learnt by a model that knows some. Padding weighs less than in
MUCH_NOISE: with 2.5 the model left out one word of five of a voice that it had not heard. Turns are
short, so pauses are frequent: with a weight of 3 the heads called gaps of 0.35 s pauses."""

VOICES_IN_NOISE = replace(
    VOICES,
    habits=Habits(
        human_share=0.58,
        shifted_share=0.2,
        neural_share=0.5,
        speechless_share=0.2,
        mostly_other_words_share=0.5,
        words_per_turn=(1, 6),
    ),
    conditions=MUCH_NOISE.conditions,
    noise_repeats=3,
)
"""The same voices where there is much else; every other part of the windows is made of it."""
