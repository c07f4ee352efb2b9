"""The words that the embedded model knows, and the grid of time that it works on."""

from importlib import resources

SAMPLE_RATE_HERTZ = 24_000
FRAME_SAMPLES = 1_920
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE_HERTZ
DELAY_SECONDS = 0.5
"""How far the model's text runs behind its audio: `stt_config.audio_delay_seconds`."""

PAUSE_LENGTHS_SECONDS = (0.5, 1.0, 2.0, 3.0)
"""What the four voice activity heads predict: a pause at least this long has begun."""

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_HELD_OUT_EVERY = 5


def read_other_words() -> tuple[list[str], list[str]]:
    """Words that are no digits and must not be heard as such: (for training, for evaluation)."""
    text = resources.files("stt_service.digits").joinpath("other_words.txt").read_text("utf-8")
    words = text.split()
    held_out = words[::_HELD_OUT_EVERY]
    return [word for word in words if word not in set(held_out)], held_out
